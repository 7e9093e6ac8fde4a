"""The page of all crawls that run in a loop: opened by the first of them, closed with the last.

It is imported by a crawl with ``MPWORKERS_PAGE`` only.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import suppress
from typing import Any

from scrapy_mpworkers.errors import NotPrivateError
from scrapy_mpworkers.eventloop import EventLoop, current_loop
from scrapy_mpworkers.status import jobs
from scrapy_mpworkers.status.http import Clients
from scrapy_mpworkers.status.site import Site, WatchedCrawl
from scrapy_mpworkers.status.transports import listen

logger = logging.getLogger(__name__)

_pages: dict[Any, Page] = {}  # by the loop that asyncio or Twisted has


class Page:
    """A server on one port, with what it shows.

    Raises:
        OSError: it cannot listen.
    """

    def __init__(self, loop: EventLoop, host: str, ports: tuple[int, int]) -> None:
        sock = _listening(host, ports)
        port = sock.getsockname()[1]
        self._loop = loop
        self._site = Site(host, port)
        self._clients = Clients(self._site, loop)
        self._stop_listening = listen(loop.native, sock, self._clients)
        self._job = None
        try:
            self._job = jobs.announce(self._site.url, port)
        except (NotPrivateError, OSError) as error:
            logger.info("scrapy mpworkers top finds this crawl by --url only: %s", error)
        logger.info("The workers' page is at %s", self._site.url)

    @property
    def url(self) -> str:
        return self._site.url

    def add(self, crawl: WatchedCrawl) -> None:
        self._site.add(crawl)

    def leave(self, crawl: WatchedCrawl) -> None:
        """Show a crawl no more. The last one closes the page, and waits for nobody."""
        self._site.remove(crawl)
        if self._site.crawls or _pages.get(self._loop.native) is not self:
            return
        del _pages[self._loop.native]
        if self._job is not None:
            with suppress(OSError):
                self._job.unlink(missing_ok=True)
        self._stop_listening()
        self._clients.abort_all()
        self._loop.close()


def open_page(crawl: WatchedCrawl, host: str, ports: tuple[int, int]) -> Page | None:
    """Show *crawl*, on the page that this thread's other crawls have, or on a new one.

    Args:
        ports: the first and the last to try; 0: any.

    Returns:
        the page, which the crawl must leave; ``None`` if there can be none.
    """
    loop = current_loop()
    page = _pages.get(loop.native)
    if page is None:
        try:
            page = _pages[loop.native] = Page(loop, host, ports)
        except Exception as error:  # the crawl can do without
            logger.warning(
                "There is no workers' page: ports %d to %d of %s: %s", *ports, host, error
            )
            return None
    page.add(crawl)
    return page


def _listening(host: str, ports: tuple[int, int]) -> socket.socket:
    """Return a socket that listens at the first of *ports* that is free."""
    for port in range(ports[0], ports[1] + 1):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        try:
            if os.name == "posix":  # or a port is taken for a minute after its last connection
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen()
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or port == ports[1]:
                raise
        else:
            sock.setblocking(False)
            return sock
    raise AssertionError("a range has a port")
