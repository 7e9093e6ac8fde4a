"""Answers the requests for a page: the shell to everybody, data to those that have the token."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import cache, partial
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Protocol

import h11

from scrapy_mpworkers.status import shell
from scrapy_mpworkers.status.http import Answer
from scrapy_mpworkers.status.snapshot import Snapshot

logger = logging.getLogger(__name__)

#: Seconds for which a snapshot is served again, so that many viewers cost no more than one. A page
#: waits longer before it asks again, so no page gets the same snapshot twice.
_HOLDS = 0.9
#: Seconds of a history that are recent. A page asks for them every two, and for all now and then.
_RECENT = 10.0

_HTML, _JSON = "text/html; charset=utf-8", "application/json"


class WatchedCrawl(Protocol):
    """A crawl whose workers are looked at, in its own thread."""

    def snapshot(self, with_pss: bool = False) -> Snapshot: ...

    def history(self, last: float = inf) -> dict[str, Any]: ...

    async def stacks(self) -> dict[str, str]: ...


class Site:
    """The shell of the page for everybody, and the data for those that know the token.

    Attributes:
        crawls: by numbers in the order in which they came.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._token = secrets.token_urlsafe(24)
        self._numbers = count(1)
        self.crawls: dict[int, WatchedCrawl] = {}
        self._told: Answer | None = None
        self._told_at = 0.0
        self._data: dict[bytes, Callable[[], Answer | Awaitable[Answer]]] = {
            b"/snapshot.json": self._snapshots,
            b"/history.json": self._histories,
            b"/recent.json": partial(self._histories, _RECENT),
            b"/stacks.json": self._stacks,
            b"/metrics": self._metrics,
        }

    @property
    def url(self) -> str:
        """The address of the page, with the token where no browser sends it to anybody."""
        host = "127.0.0.1" if _is_any(self._host) else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/#{self._token}"

    def add(self, crawl: WatchedCrawl) -> None:
        self.crawls[next(self._numbers)] = crawl
        self._told = None

    def remove(self, crawl: WatchedCrawl) -> None:
        self.crawls = {number: one for number, one in self.crawls.items() if one is not crawl}
        self._told = None

    def respond(self, request: h11.Request) -> Answer | Awaitable[Answer]:
        """Answer a request, or say why not."""
        headers = dict(request.headers)
        path = request.target.partition(b"?")[0]
        if not self._is_ours(headers.get(b"host", b"").decode("latin-1")):
            return _refusal(421, "This is not the host of that name.")
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(405, "Nothing can be changed here.", ("Allow", "GET, HEAD"))
        if path == b"/":
            return _shell()
        if path not in self._data:
            return _refusal(404, "There is no such page.")
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            need = "The token is missing or wrong: it is behind the # of the address in the log."
            return _refusal(401, need, ("WWW-Authenticate", "Bearer"))
        try:
            return self._data[path]()
        except Exception as error:  # nothing that is shown may disturb the crawl
            return _failed(error)

    def _is_ours(self, host: str) -> bool:
        """Return whether the ``Host`` header *host* is a name or a number of this very page.

        Another web site can point a name of its own to this machine (DNS rebinding), but no number.
        """
        found = re.fullmatch(r"\[?([^\[\]]+?)\]?(?::(\d{1,5}))?", host.lower())
        if found is None or int(found[2] or 80) != self._port:
            return False
        if found[1] in {self._host.lower(), "localhost", "127.0.0.1"}:
            return True
        return _is_any(self._host) and (_is_number(found[1]) or found[1] == socket.gethostname())

    def _snapshots(self) -> Answer:
        now = monotonic()
        if self._told is None or now - self._told_at >= _HOLDS:
            taken = [crawl.snapshot(with_pss=True).as_dict() for crawl in self.crawls.values()]
            self._told, self._told_at = _json(taken), now
        return self._told

    def _histories(self, last: float = inf) -> Answer:
        return _json([crawl.history(last) for crawl in self.crawls.values()])

    async def _stacks(self) -> Answer:
        found = []
        try:
            for crawl in list(self.crawls.values()):
                spider, stacks = crawl.snapshot().spider, await crawl.stacks()
                workers = [{"name": name, "stack": stack} for name, stack in stacks.items()]
                found.append({"spider": spider, "workers": workers})
        except Exception as error:
            return _failed(error)
        return _json(found)

    def _metrics(self) -> Answer:
        try:
            from scrapy_mpworkers.status import metrics
        except ImportError:
            need = "prometheus_client is missing: pip install 'scrapy-mpworkers[metrics]'"
            return _refusal(501, need)
        snapshots = {number: crawl.snapshot().as_dict() for number, crawl in self.crawls.items()}
        return Answer(200, metrics.exposition(snapshots), metrics.CONTENT_TYPE)


def _json(crawls: list[Any]) -> Answer:
    return Answer(200, json.dumps({"crawls": crawls}, separators=(",", ":")).encode(), _JSON)


def _failed(error: Exception) -> Answer:
    logger.error("The workers' page cannot show this", exc_info=error)
    return _refusal(500, "This cannot be shown; the log of the crawl has the reason.")


def _refusal(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, f"{why}\n".encode(), headers=headers)


@cache
def _shell() -> Answer:
    """The page, which may run its own script and ask this server, and nothing else."""
    html = shell.html()
    policy = f"{shell.policy(html)}; connect-src 'self'; frame-ancestors 'none'"
    return Answer(200, html.encode(), _HTML, [("Content-Security-Policy", policy)])


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    """Return whether it is the address for all that this machine has."""
    return _is_number(host) and ipaddress.ip_address(host).is_unspecified
