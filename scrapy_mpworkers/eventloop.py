"""The crawl's event loop: asyncio, with or without a reactor on top, or another Twisted reactor."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from scrapy_mpworkers.pool.interface import Loop, resolve
from scrapy_mpworkers.pool.task import Future


class EventLoop(Loop):
    """The loop of one crawl, which holds the timers of that crawl alone.

    Attributes:
        native: the asyncio loop, or the reactor.
        is_eager: whether a coroutine begins in the turn in which it is started.
    """

    native: Any
    is_eager: bool
    _start_timer: Callable[[float, Callable[[], None]], Any]

    def __init__(self) -> None:
        self._timers: set[Any] = set()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.remove(timer)
            function()

        timer = self._start_timer(seconds, fire)
        self._timers.add(timer)

    def close(self) -> None:
        """Cancel the timers, which would keep their crawl in memory."""
        while self._timers:
            self._timers.pop().cancel()


def current_loop() -> EventLoop:
    """The loop of the crawl that runs in this thread."""
    return _AsyncioLoop() if is_asyncio_available() else _ReactorLoop()


def is_closed(native: Any) -> bool:
    """Return whether *native* is an asyncio loop that is closed for good; a reactor never tells."""
    return isinstance(native, asyncio.AbstractEventLoop) and native.is_closed()


class Latch:
    """A latch opens once, with a value, for all who wait for it, before and after.

    A value that is an exception is raised in those who wait.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._value: list[Any] = []
        self._waiting: list[Future] = []

    @property
    def is_open(self) -> bool:
        return bool(self._value)

    def open(self, value: Any = None) -> None:
        """End all waits; a second call does nothing."""
        if not self._value:
            self._value.append(value)
            for future in self._waiting:
                resolve(future)

    async def wait(self) -> Any:
        """Wait until the latch is open, and return its value."""
        if not self._value:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future
        value = self._value[0]
        if not isinstance(value, BaseException):
            return value
        try:
            raise value
        finally:
            # Raised while another error is handled, the value would keep that error alive with the
            # crawl, and Twisted tells of a crawl's failure only when the failure is freed.
            value.__context__ = None


class Staggered:
    """Calls functions in their order, each in another iteration of the loop."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self.due: deque[Callable[[], None]] = deque()  #: that wait, behind the one being called

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in an iteration to come."""
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


class _AsyncioLoop(EventLoop):
    is_eager = False

    def __init__(self) -> None:
        super().__init__()
        self.native = asyncio.get_event_loop()
        # This does what the loop's create_future() does, one call shorter: each item needs one.
        self.create_future = partial(asyncio.Future, loop=self.native)
        self.call_soon = self.native.call_soon
        self._start_timer = self.native.call_later

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self.native.call_soon_threadsafe(function)

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        self.native.add_reader(fd, function)

    def remove_reader(self, fd: int) -> None:
        self.native.remove_reader(fd)


class _ReactorLoop(EventLoop):
    is_eager = True

    def __init__(self) -> None:
        super().__init__()
        # Not at the top of the module: the import installs a reactor.
        from twisted.internet import reactor

        self.native = reactor
        self.create_future = _DeferredFuture
        self.call_soon = partial(self.native.callLater, 0)
        self._start_timer = self.native.callLater
        self._readers: dict[int, _Reader] = {}

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self.native.callFromThread(function)

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        self._readers[fd] = _Reader(fd, function)
        self.native.addReader(self._readers[fd])

    def remove_reader(self, fd: int) -> None:
        self.native.removeReader(self._readers.pop(fd))


class _DeferredFuture(Deferred[Any]):
    """A Deferred with the methods of a future."""

    def done(self) -> bool:
        return bool(self.called)

    def set_result(self, value: Any) -> None:
        self.callback(value)


@implementer(IReadDescriptor)
class _Reader:
    """A file descriptor in the form that reactors want."""

    def __init__(self, fd: int, function: Callable[[], None]) -> None:
        self._fd = fd
        self._function = function

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        self._function()

    def connectionLost(self, reason: Any) -> None:
        """Read what is left: epoll calls this when the other end closes, a reactor when it ends."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(0):
            self._function()

    def logPrefix(self) -> str:
        return "mpworkers"


async def in_order(
    start: Callable[[Any], Awaitable[Any]], arguments: Iterable[Any], limit: int
) -> AsyncGenerator[Any, None]:
    """Await ``start(argument)`` for each, so many at a time; give the results in their order."""
    under_way: deque[Deferred[Any]] = deque()
    rest = iter(arguments)
    try:
        while True:
            for argument in islice(rest, limit - len(under_way)):
                under_way.append(deferred_from_coro(start(argument)))
            if not under_way:
                return
            yield await maybe_deferred_to_future(under_way.popleft())
    finally:
        for deferred in under_way:
            deferred.addErrback(lambda failure: None)  # nobody asks for them any more
            deferred.cancel()
