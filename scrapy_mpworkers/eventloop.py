"""The crawl's event loop: asyncio, with or without a reactor on top, or another Twisted reactor."""

from __future__ import annotations

import asyncio
import itertools
import select
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol, cast

from scrapy.utils.asyncio import is_asyncio_available
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from scrapy_mpworkers.pool.interface import Loop


class EventLoop(Loop, Protocol):
    """What the components need of it. ``under``: the asyncio loop, or the reactor."""

    under: Any

    def close(self) -> None:
        """Forget what was to be called later: a timer would keep its crawl in memory."""

    def waiter(self) -> Waiter:
        """Something to await once, until :func:`end`."""


class Waiter(Protocol):
    """What is awaited once, until it gets a value."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def done(self) -> bool:
        """Whether it has got one, or the wait was cancelled."""

    def set_result(self, value: Any, /) -> None:
        """Give it one."""


def end(waiter: Waiter, value: Any = None) -> None:
    """End the wait for *waiter* with a value, unless the wait was cancelled."""
    if not waiter.done():
        waiter.set_result(value)


def current_loop() -> EventLoop:
    """The loop of the crawl that runs in this thread."""
    return _AsyncioLoop() if is_asyncio_available() else _ReactorLoop()


def is_closed(under: Any) -> bool:
    """Whether an asyncio loop will never run again; a reactor is never known to."""
    return isinstance(under, asyncio.AbstractEventLoop) and under.is_closed()


class Latch:
    """Opens once, with a value; any number may wait, before and after. A value that is an
    exception is raised."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._value: list[Any] = []
        self._waiting: list[Waiter] = []

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was called."""
        return bool(self._value)

    def open(self, value: Any = None) -> None:
        """End all waits; a second call does nothing."""
        if not self._value:
            self._value.append(value)
            for waiter in self._waiting:
                end(waiter)

    async def wait(self) -> Any:
        """The value, when the gate is open."""
        if not self._value:
            waiter = self._loop.waiter()
            self._waiting.append(waiter)
            await waiter
        value = self._value[0]
        if not isinstance(value, BaseException):
            return value
        try:
            raise value
        finally:
            # Whoever has opened the gate may be handling an error of somebody else, which this one
            # would keep alive with the crawl: Twisted tells of a crawl's failure when it is freed.
            value.__context__ = None


class Staggered:
    """Calls functions in their order, each in another turn of the loop."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self.due: deque[Callable[[], None]] = deque()  #: that wait, and the one that is called

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in a turn to come."""
        self.due.append(function)
        if len(self.due) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        try:
            self.due[0]()
        finally:
            self.due.popleft()
            if self.due:
                self._loop.call_soon(self._next)


class _Timers:
    """The timers of one crawl."""

    def __init__(self) -> None:
        self._timers: dict[int, Any] = {}
        self._numbers = itertools.count()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        number = next(self._numbers)

        def fire() -> None:
            del self._timers[number]
            function()

        self._timers[number] = self._start_timer(seconds, fire)

    def close(self) -> None:
        while self._timers:
            _, timer = self._timers.popitem()
            timer.cancel()

    def _start_timer(self, seconds: float, function: Callable[[], None]) -> Any:
        raise NotImplementedError


class _AsyncioLoop(_Timers):
    def __init__(self) -> None:
        super().__init__()
        self.under = self._loop = asyncio.get_event_loop()
        # As create_future(), of which there is one for each item, without its frame.
        self.waiter = partial(asyncio.Future, loop=self._loop)

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def call_soon(self, function: Callable[[], None]) -> None:
        self._loop.call_soon(function)

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        self._loop.add_reader(fd, function)

    def remove_reader(self, fd: int) -> None:
        self._loop.remove_reader(fd)

    def _start_timer(self, seconds: float, function: Callable[[], None]) -> Any:
        return self._loop.call_later(seconds, function)


class _ReactorLoop(_Timers):
    def __init__(self) -> None:
        super().__init__()
        # Not at the top of the module: the import installs a reactor.
        from twisted.internet import reactor

        self.under = self._reactor = cast(Any, reactor)
        self._readers: dict[int, _Reader] = {}

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self._reactor.callFromThread(function)

    def call_soon(self, function: Callable[[], None]) -> None:
        self._reactor.callLater(0, function)

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        self._readers[fd] = _Reader(fd, function)
        self._reactor.addReader(self._readers[fd])

    def remove_reader(self, fd: int) -> None:
        self._reactor.removeReader(self._readers.pop(fd))

    def _start_timer(self, seconds: float, function: Callable[[], None]) -> Any:
        return self._reactor.callLater(seconds, function)

    def waiter(self) -> Waiter:
        return _DeferredWaiter()


class _DeferredWaiter(Deferred[Any]):
    """A Deferred, as a future has it."""

    def done(self) -> bool:
        return bool(self.called)

    def set_result(self, value: Any) -> None:
        self.callback(value)


@implementer(IReadDescriptor)
class _Reader:
    """A file descriptor, as reactors want it."""

    def __init__(self, fd: int, function: Callable[[], None]) -> None:
        self._fd = fd
        self._function = function

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        self._function()

    def connectionLost(self, reason: Any) -> None:
        """The other end of a pipe is closed, which epoll tells in this way; or the reactor ends."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(0):
            self._function()

    def logPrefix(self) -> str:
        return "mpworkers"
