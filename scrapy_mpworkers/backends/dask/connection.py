"""Calls between the crawl's thread and that of its Dask client.

All public methods are called in the crawl's thread, and what comes of them is told there, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Concatenate, ParamSpec

from scrapy_mpworkers.backends.dask.client import Answered, Session
from scrapy_mpworkers.backends.dask.cluster import ClusterSpec, ConnectionEvents
from scrapy_mpworkers.pool.interface import Loop

_P = ParamSpec("_P")


class Connection:
    """A crawl's connection to a cluster, which its worker groups share."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.where = spec.address or "a Dask cluster on this machine"
        self.workers: dict[str, None] = {}  #: addresses, in the order in which they came
        self.threads: Counter[str] = Counter()  #: worker threads of all groups, by address
        self._spec = spec
        self._groups: list[ConnectionEvents] = []
        self._last: ConnectionEvents | None = None  # the last group to leave waits for the end
        self._is_connected = self._is_closed = False
        self._why_lost = ""
        self._session: Session | None = None

    def subscribe(self, group: ConnectionEvents, crawl_loop: Loop) -> None:
        """Tell *group* what happens from now on. The first one makes the connection."""
        self._groups.append(group)
        if self._session is None:
            self._session = Session(self._spec, self, crawl_loop)
            threading.Thread(target=self._session.run, name="mpworkers-dask", daemon=True).start()
        elif self._why_lost:
            crawl_loop.call_soon(partial(group.lost, self._why_lost))
        elif self._is_connected:
            crawl_loop.call_soon(lambda: group.connected(list(self.workers)))

    def unsubscribe(self, group: ConnectionEvents) -> None:
        """Tell *group* only that it has left. When the last one leaves, the connection closes."""
        if group not in self._groups:
            return
        self._groups.remove(group)
        if self._groups or self._is_closed:
            group.closed()
        else:
            self._last = group
            self._do(Session.close)

    def open_thread(self, thread: str, address: str, command: bytes, answered: Answered) -> None:
        """Make a worker thread, which lives until :meth:`release`, and send its first command."""
        self.threads[address] += 1
        self.call(thread, Session.open_thread, thread, address, command, answered)

    def release(self, thread: str, address: str) -> None:
        """Let a worker thread end."""
        self.threads[address] -= 1
        self._do(Session.release, thread)

    def call(
        self,
        thread: str,
        function: Callable[Concatenate[Session, _P], Coroutine[Any, Any, None]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        """Run a coroutine function in the client's thread until it ends, or until *thread*, the
        worker thread that it is for (``""``: none), is released."""
        self._do(Session.start, thread, lambda session: function(session, *args, **kwargs))

    def _do(self, method: Callable[..., None], *args: Any) -> None:
        assert self._session is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._session.loop.call_soon_threadsafe(method, self._session, *args)

    # What the client tells: see ConnectionEvents

    def connected(self, workers: Collection[str]) -> None:
        self._is_connected = True
        self.workers |= dict.fromkeys(workers)
        for group in list(self._groups):
            group.connected(list(self.workers))

    def worker_came(self, address: str) -> None:
        self.workers[address] = None
        for group in list(self._groups):
            group.worker_came(address)

    def worker_left(self, address: str, expected: bool) -> None:
        if address in self.workers:
            del self.workers[address]
            for group in list(self._groups):
                group.worker_left(address, expected)

    def lost(self, why: str) -> None:
        self._why_lost = f"{self.where}: {why}"
        for group in list(self._groups):
            group.lost(self._why_lost)

    def closed(self) -> None:
        self._is_closed = True
        if self._last is not None:
            self._last.closed()
