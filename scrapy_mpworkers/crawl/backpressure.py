"""Bounds what is pending: items that are shipped, or wait to be, and have no outcome yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from scrapy_mpworkers.eventloop import EventLoop, Future, resolve


class Backpressure:
    """Lets items in one after the other, in the order in which they came.

    Args:
        loop: the crawl's; everything here runs in its thread.
        max_count: items inside at once.
        max_bytes: of their frames together; a larger one goes in alone.
        emptied: called whenever the last one has left.
    """

    def __init__(
        self, loop: EventLoop, max_count: int, max_bytes: int, emptied: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._emptied = emptied
        self._max_count, self._max_bytes = max_count, max_bytes
        self._count = self._bytes = 0
        self.busy_since = 0.0  #: when the first of those inside came, ``time.monotonic()``
        self._waiting: deque[tuple[int, Future]] = deque()
        self._when_drained: list[Callable[[], None]] = []

    @property
    def pending(self) -> int:
        """Items inside, and those that wait at the door."""
        return self._count + len(self._waiting)

    def enter_at_once(self, size: int) -> bool:
        """Take room for a frame of *size* bytes, if there is any and nobody waits for it."""
        # As _has_room() and _take(), without the calls: the way of nearly every item.
        count, total = self._count, self._bytes + size
        if self._waiting or (count and (count >= self._max_count or total > self._max_bytes)):
            return False
        if not count:
            self.busy_since = monotonic()
        self._count, self._bytes = count + 1, total
        return True

    async def enter(self, size: int) -> None:
        """Wait for room for a frame of *size* bytes, and take it."""
        if not self.enter_at_once(size):
            await self._turn(size)

    def leave(self, size: int) -> None:
        """The item has its outcome."""
        self._count -= 1
        self._bytes -= size
        if self._waiting:
            self._let_in()
        if not self._count:
            for callback in self._when_drained:
                # In a turn of its own: this one is in the middle of settling.
                self._loop.call_soon(callback)
            self._when_drained.clear()
            self._emptied()

    async def room(self) -> None:
        """Wait until one more item would be let in, without taking its place."""
        if self._waiting or not self._has_room(0):
            await self._turn(0)
            self.leave(0)

    def widen(self, max_count: int) -> None:
        """Let at least so many items in."""
        self._max_count = max(self._max_count, max_count)
        self._let_in()

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call *callback* once nothing is pending, at once if so now."""
        if self.pending:
            self._when_drained.append(callback)
        else:
            callback()

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self._take(size)
            resolve(turn)

    def _has_room(self, size: int) -> bool:
        if self._count < self._max_count and self._bytes + size <= self._max_bytes:
            return True
        return not self._count

    def _take(self, size: int) -> None:
        if not self._count:
            self.busy_since = monotonic()
        self._count += 1
        self._bytes += size

    async def _turn(self, size: int) -> None:
        turn = self._loop.create_future()
        place = (size, turn)
        self._waiting.append(place)
        try:
            await turn
        except BaseException:
            # Scrapy cancels start(), which waits for room here, when the spider is to close.
            if place in self._waiting:
                self._waiting.remove(place)
                self._let_in()
            else:
                self.leave(size)  # let in already
            raise
