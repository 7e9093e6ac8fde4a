"""A page in a loop of its own, beside the test, and clients that ask it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any
from urllib.parse import urlsplit

from scrapy_mpworkers.status.server import open_page

WORKER = {
    "name": "worker-1",
    "pid": 4711,
    "state": "busy",
    "task": {"id": 7, "kind": "item", "hop": 0, "label": "http://a/7", "seconds": 1.5},
    "settled": 6,
    "restarts": 1,
    "cpu_percent": 50.0,
    "rss_bytes": 1 << 20,
    "pss_bytes": None,
    "sampled_ago": 0.5,
}
IDLE = WORKER | {"name": 'worker-"2"', "state": "idle", "task": None, "cpu_percent": None}
ITEMS = {"submitted": 8, "done": 5, "dropped": 1, "failed": 0, "dead_lettered": 0}
TIMES = {"p50": 0.1, "p95": 0.2, "p99": 0.3}
LEVEL = {
    "name": "",
    "pending": 2,
    "max_pending": 64,
    "pending_bytes": 300,
    "max_pending_bytes": 64 << 20,
    "at_the_door": 0,
    "is_braking": False,
    "per_second": 2,
    "per_minute": 90.0,
    "items": ITEMS,
    "calls": None,
    "callbacks": None,
    "wait": TIMES,
    "service": TIMES,
    "utilisation": 0.75,
    "workers": [WORKER, IDLE],
}
EVENT = {
    "at": 1_700_000_000.0,
    "kind": "death",
    "level": "",
    "worker": "worker-1",
    "text": "worker-1 was ended by SIGKILL",
    "label": "http://a/3",
}
SNAPSHOT = {
    "taken_at": 1_700_000_001.0,
    "spider": "books",
    "pid": 4700,
    "elapsed": 12.5,
    "state": "running",
    "levels": [LEVEL],
    "slowest": [],
    "events": [EVENT],
    "verdict": "Workers are the limit.",
}


@dataclass
class Picture:
    """A snapshot that a test has drawn."""

    drawn: dict[str, Any]

    @property
    def spider(self) -> str:
        return self.drawn["spider"]

    def as_dict(self) -> dict[str, Any]:
        return self.drawn


class Drawn:
    """A crawl that is a picture of one."""

    def __init__(self, **differences: Any) -> None:
        self.picture = Picture(SNAPSHOT | differences)

    def snapshot(self, with_pss: bool = False) -> Picture:
        return self.picture

    def history(self, last: float = inf) -> dict[str, Any]:
        return {"spider": self.picture.spider} | ({} if last == inf else {"last": last})


@dataclass
class Reply:
    """A response that has been read."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks a page, with its token unless told otherwise, on one connection after another."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port, self.token = parts.hostname, parts.port, parts.fragment

    @property
    def right(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **also: Any
    ) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(
                method, path, headers=self.right if headers is None else headers, **also
            )
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.host, self.port), timeout=20) as sock:
            yield sock


class Served:
    """A loop in a thread, with the pages of its crawls."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        loop: Future[asyncio.AbstractEventLoop] = Future()
        self._running = self._thread.submit(asyncio.run, self._serve(loop))
        self.loop = loop.result(20)

    async def _serve(self, loop: Future[asyncio.AbstractEventLoop]) -> None:
        self._ended = asyncio.Event()
        loop.set_result(asyncio.get_running_loop())
        await self._ended.wait()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it in the loop's thread, as a crawl does."""

        async def called() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(20)

    def open(self, crawl: Any, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> Any:
        return self.call(open_page, crawl, host, ports)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._ended.set)
        self._running.result(20)
        self._thread.shutdown()


def read_all(sock: socket.socket) -> bytes:
    """All that comes before the other end closes, by a reset too."""
    read = b""
    try:
        while data := sock.recv(65536):
            read += data
    except ConnectionError:
        pass
    return read


def open_sockets() -> set[str]:
    """The sockets that this process has open."""
    folder = "/proc/self/fd"
    links = []
    for fd in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{fd}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return {link for link in links if link.startswith("socket:")}
