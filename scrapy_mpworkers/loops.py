"""The crawl's event loop: asyncio, with or without a reactor on top, or another Twisted reactor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from scrapy.utils.asyncio import is_asyncio_available
from twisted.internet.defer import Deferred


class CrawlLoop(Protocol):
    """What the components need of it."""

    def call_from_thread(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread soon. The only method for other threads.

        Raises:
            RuntimeError: the loop is closed.
        """

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run *function* after *seconds*."""

    def waiter(self) -> tuple[Awaitable[Any], Callable[[Any], None]]:
        """Something to await once, and the function that ends the wait with a value."""


def current_loop() -> CrawlLoop:
    """The loop of the crawl that runs in this thread."""
    return _AsyncioLoop() if is_asyncio_available() else _ReactorLoop()


class Gate:
    """Opens once, with a value; any number may wait, before and after. A value that is an
    exception is raised."""

    def __init__(self, loop: CrawlLoop) -> None:
        self._loop = loop
        self._value: list[Any] = []
        self._waiting: list[Callable[[Any], None]] = []

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was called."""
        return bool(self._value)

    def open(self, value: Any = None) -> None:
        """End all waits; a second call does nothing."""
        if not self._value:
            self._value.append(value)
            for end in self._waiting:
                end(None)

    async def wait(self) -> Any:
        """The value, when the gate is open."""
        if not self._value:
            awaitable, end = self._loop.waiter()
            self._waiting.append(end)
            await awaitable
        value = self._value[0]
        if isinstance(value, BaseException):
            raise value
        return value


class _AsyncioLoop:
    def __init__(self) -> None:
        self._loop = asyncio.get_event_loop()

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self._loop.call_later(seconds, function)

    def waiter(self) -> tuple[Awaitable[Any], Callable[[Any], None]]:
        future = self._loop.create_future()

        def end(value: Any) -> None:
            if not future.done():  # a wait may have been cancelled
                future.set_result(value)

        return future, end


class _ReactorLoop:
    def __init__(self) -> None:
        # Not at the top of the module: the import installs a reactor.
        from twisted.internet import reactor

        self._reactor: Any = reactor

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self._reactor.callFromThread(function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self._reactor.callLater(seconds, function)

    def waiter(self) -> tuple[Awaitable[Any], Callable[[Any], None]]:
        deferred: Deferred[Any] = Deferred()

        def end(value: Any) -> None:
            if not deferred.called:
                deferred.callback(value)

        return deferred, end
