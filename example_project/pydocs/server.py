"""The site: the rendered pages, served on loopback from a thread."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydocs.pages import ensure_pages


class QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive, as real sites have it
    # A response leaves in two writes (head, body); on a kept connection Nagle's algorithm would
    # hold the second one until the client's delayed acknowledgement, 40 ms a page.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class LocalSite:
    """Serves the documentation from creation to ``close()``, at ``url``.

    Args:
        port: 0 takes any free port.
    """

    def __init__(self, port: int = 0) -> None:
        handler = partial(QuietHandler, directory=str(ensure_pages()))
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LocalSite:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
