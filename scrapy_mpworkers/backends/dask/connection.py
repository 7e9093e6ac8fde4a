"""The client of one crawl, in a thread with an asyncio loop of its own.

So it is the same under every reactor and without one, and nothing that Dask does blocks the crawl.
All public methods are called in the crawl's thread; what comes of them is called there, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

from scrapy_mpworkers.backends.dask.client import Done, Session, Wanted, import_dask
from scrapy_mpworkers.pool.interface import Loop


class Listener(Protocol):
    """A pool, as the connection needs it."""

    def worker_came(self, address: str) -> None: ...
    def worker_left(self, address: str, expected: bool) -> None: ...
    def connected(self) -> None: ...
    def lost(self, why: str) -> None: ...


class Connection:
    """What the pools of a crawl share.

    Args:
        wanted: where the cluster is, and what it must have.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.where = wanted.address or "a Dask cluster on this machine"
        self.workers: dict[str, None] = {}  #: addresses, in the order in which they came
        self.seats: Counter[str] = Counter()  #: of all pools, by address
        self._wanted = wanted
        self._listeners: list[Listener] = []
        self._is_connected = False
        self._why_lost = ""
        self._loop: Loop | None = None
        self._ended: list[Callable[[], None]] = []
        self._has_ended = False

    # In the crawl's thread

    def import_early(self) -> None:
        """Let a thread import what takes a second."""
        threading.Thread(target=import_dask, name="mpworkers-dask-import", daemon=True).start()

    def connect(self, listener: Listener, loop: Loop) -> None:
        """Tell *listener* of the workers from now on. The first one makes the connection."""
        self._listeners.append(listener)
        if self._loop is None:
            self._loop = loop
            self._dask_loop = asyncio.new_event_loop()
            self._session = Session(self._wanted, self, self._dask_loop)
            threading.Thread(target=self._session.run, name="mpworkers-dask", daemon=True).start()
        elif self._why_lost:
            loop.call_soon(partial(listener.lost, self._why_lost))
        elif self._is_connected:
            loop.call_soon(partial(self._introduce, listener))

    def leave(self, listener: Listener, ended: Callable[[], None]) -> None:
        """Nothing more is told to *listener*. Behind the last one the connection is closed."""
        self._listeners.remove(listener)
        if self._listeners:
            ended()
            return
        self._ended.append(ended)
        if self._has_ended:
            self._thread_ended()
        else:
            self._do(self._session.closing.set)

    def sit(self, address: str, key: str, order: bytes, done: Done) -> None:
        """Make the seat *key*, which lives until :meth:`release`."""
        self.seats[address] += 1
        self._start(key, lambda session: session.sit(address, key, order, done))

    def release(self, address: str, key: str) -> None:
        """End a seat."""
        self.seats[address] -= 1
        self._do(lambda: self._session.release(key))

    def send(
        self, address: str, key: str, order: tuple[str, int, bytes, dict[int, float]], done: Done
    ) -> None:
        """Send an order (seat, number, bytes, limits) as a task that is called *key*."""
        self._start(order[0], lambda session: session.work(address, key, order, done))

    def listen(self, address: str, seat: str, number: int, done: Done) -> None:
        """Ask for more of what comes of an order."""
        self._start(seat, lambda session: session.listen(address, seat, number, done))

    def ask(self, address: str, seconds: float, answered: Callable[[bool], None]) -> None:
        """Ask a worker whether it hears."""
        self._start("", lambda session: session.ask(address, seconds, answered))

    def end_worker(self, address: str) -> None:
        """Kill a worker process, if anybody would start it again."""
        self._start("", lambda session: session.end_worker(address))

    def _start(self, seat: str, work: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
        session = self._session
        self._do(lambda: session.start(seat, work(session)))

    def _do(self, function: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self._dask_loop.call_soon_threadsafe(function)

    # In the session's thread, for the crawl's

    def tell(self, function: Callable[[], None]) -> None:
        """Call *function* in the crawl's thread."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the crawl is over
            self._loop.call_from_thread(function)

    def connected(self, workers: Iterable[str]) -> None:
        """These are there."""
        self.tell(partial(self._connected, list(workers)))

    def came(self, address: str) -> None:
        """A worker has come."""
        self.tell(partial(self._came, address))

    def left(self, address: str, expected: bool) -> None:
        """A worker has gone."""
        self.tell(partial(self._left, address, expected))

    def lost(self, why: str) -> None:
        """The scheduler is gone, or there was none."""
        self.tell(partial(self._lost, f"{self.where}: {why}"))

    def ended(self) -> None:
        """The thread ends."""
        self.tell(self._thread_ended)

    # Back in the crawl's thread

    def _connected(self, workers: Iterable[str]) -> None:
        self._is_connected = True
        self.workers |= dict.fromkeys(workers)
        for listener in list(self._listeners):
            self._introduce(listener)

    def _introduce(self, listener: Listener) -> None:
        listener.connected()
        for address in list(self.workers):
            listener.worker_came(address)

    def _came(self, address: str) -> None:
        self.workers[address] = None
        for listener in list(self._listeners):
            listener.worker_came(address)

    def _left(self, address: str, expected: bool) -> None:
        if address in self.workers:
            del self.workers[address]
            for listener in list(self._listeners):
                listener.worker_left(address, expected)

    def _lost(self, why: str) -> None:
        self._why_lost = why
        for listener in list(self._listeners):
            listener.lost(why)

    def _thread_ended(self) -> None:
        self._has_ended = True
        while self._ended:
            self._ended.pop()()
