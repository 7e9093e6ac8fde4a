"""The workers of one level in one crawl, as its items meet them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from operator import add
from typing import Any, TypeVar

from scrapy_mpworkers.backends.base import Executor
from scrapy_mpworkers.crawl.backpressure import Backpressure
from scrapy_mpworkers.crawl.events import CrawlEvents
from scrapy_mpworkers.crawl.item import ShippedItem, unreadable
from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.eventloop import EventLoop, Future, Staggered, resolve
from scrapy_mpworkers.pool.interface import DeadLettered, Settle
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.entries import key_function
from scrapy_mpworkers.wire.messages import CALL, Outcome

_T = TypeVar("_T")

#: Bytes of an item for which the loop has a turn of its own when it is settled: in its place the
#: crawl makes and pickles another one, which takes milliseconds. (10 MB: lag p99 19 ms, not 31.)
LONG = 1 << 20


class Level:
    """A pool, and the bound of what is pending.

    Args:
        news: the pool's listener.
    """

    def __init__(
        self,
        settings: LevelSettings,
        loop: EventLoop,
        pool: Executor,
        backpressure: Backpressure,
        news: CrawlEvents,
    ) -> None:
        self.settings = settings
        self.waits = settings.wait
        self.pool = pool
        self.backpressure = backpressure
        self.news = news
        self.has_started = False
        self._loop = loop
        self._turns = Staggered(loop)
        #: computes the key of an item, if the level has keys
        self.key = None if settings.key is None else key_function(settings.key)

    @property
    def of_level(self) -> str:
        """Behind "workers" in a sentence."""
        return f" of the level {self.settings.name}" if self.settings.name else ""

    @property
    def settled(self) -> list[int]:
        """Items and calls that are settled, by :class:`TaskStatus`."""
        metrics = self.pool.metrics
        return list(map(add, metrics.items.settled, metrics.calls.settled))

    def start(self) -> None:
        """Start the workers. A second call does nothing.

        Raises:
            UnpicklableError: a class of the crawl cannot cross. Nothing has been started then.
        """
        if not self.has_started:
            self.pool.start()
            self.has_started = True

    def outcome(
        self,
        hop: int,
        shipment: ShippedItem,
        key: Any = None,
        committed: Awaitable[None] | None = None,
    ) -> Awaitable[Outcome | DeadLettered]:
        """Send an item to a worker; to be awaited: what becomes of it.

        Args:
            hop: where it goes.
            key: of the item, if the level has keys.
            committed: goes first.
        """
        if committed is not None or not self.backpressure.enter_at_once(shipment.size):
            return self._outcome_later(hop, shipment, key, committed)
        # The way of nearly every item, so without a coroutine of its own.
        return self._sent(hop, shipment, key)

    async def _outcome_later(
        self, hop: int, shipment: ShippedItem, key: Any, committed: Awaitable[None] | None
    ) -> Outcome | DeadLettered:
        await self._enter(shipment.size, committed)
        return await self._sent(hop, shipment, key)

    def _sent(self, hop: int, shipment: ShippedItem, key: Any) -> Awaitable[Outcome | DeadLettered]:
        # Should the wait be cancelled, the item goes on all the same, as it would inline.
        future = self._loop.create_future()
        self.pool.submit(hop, shipment, partial(self._settled, future, shipment.size), key)
        return future

    def _settled(self, future: Future, size: int, outcome: Outcome | DeadLettered) -> None:
        # None overtakes another one: those behind a large one have a turn each, too.
        if size > LONG or self._turns.due:
            self._turns.call(partial(self._end, future, size, outcome))
        else:
            self._end(future, size, outcome)

    def _end(self, future: Future, size: int, outcome: Outcome | DeadLettered) -> None:
        resolve(future, outcome)
        self.backpressure.leave(size)

    async def outcome_of_call(
        self, call: ShippedItem, limit: float | None
    ) -> Outcome | DeadLettered:
        """The same for a call. If the wait is cancelled its place is free, and it is not begun
        unless a worker has it already.

        Args:
            limit: seconds that it may take, if not those of the level.
        """
        await self._enter(call.size)
        future = self._loop.create_future()
        task_id = self.pool.submit(CALL, call, partial(resolve, future), None, limit)
        try:
            return await future  # type: ignore[no-any-return]
        except BaseException:
            self.pool.withdraw(task_id)
            raise
        finally:
            self.backpressure.leave(call.size)

    async def take(
        self,
        hop: int,
        shipment: ShippedItem,
        key: Any,
        committed: Awaitable[None] | None,
        settled: Settle,
    ) -> None:
        """Wait for room only; *settled* is called with what becomes of the item."""
        size = shipment.size
        await self._enter(size, committed)

        def settle(outcome: Outcome | DeadLettered) -> None:
            try:
                settled(outcome)
            finally:
                self.backpressure.leave(size)

        self.pool.submit(hop, shipment, settle, key)

    async def _enter(self, size: int, committed: Awaitable[None] | None = None) -> None:
        if not self.backpressure.enter_at_once(size):
            # Those inside might wait for others to go with, and none can come in any more.
            self.pool.flush()
            await self.backpressure.enter(size)
        try:
            if committed is not None:
                await committed
        except BaseException:
            self.backpressure.leave(size)
            raise


def read_result(level: Level, hop: int, outcome: Outcome, read: Callable[[], _T]) -> _T:
    """What a level has sent; if it cannot be loaded, the item has failed there after all."""
    try:
        return read()
    # Its classes run their own code here: SystemExit would end the crawl.
    except BaseException as error:
        level.pool.metrics.unreadable(hop, outcome.status)
        if isinstance(error, UnreadableError):
            raise
        raise unreadable(error) from error
