"""The workers of one level in one crawl, as its items meet them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import add
from typing import Any, TypeVar

from scrapy_mpworkers.backend import LevelPool
from scrapy_mpworkers.backpressure import Backpressure
from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.keys import key_function
from scrapy_mpworkers.loops import CrawlLoop
from scrapy_mpworkers.news import PoolNews
from scrapy_mpworkers.pool.interface import GivenUp
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.shipment import Shipment
from scrapy_mpworkers.wire.messages import CALL, Outcome

_T = TypeVar("_T")


class Level:
    """A pool, and the bound of what is pending.

    Args:
        news: the pool's listener.
    """

    def __init__(
        self,
        settings: LevelSettings,
        loop: CrawlLoop,
        pool: LevelPool,
        backpressure: Backpressure,
        news: PoolNews,
    ) -> None:
        self.settings = settings
        self.waits = settings.wait
        self.pool = pool
        self.backpressure = backpressure
        self.news = news
        self.has_started = False
        self._loop = loop
        #: computes the key of an item, if the level has keys
        self.key = None if settings.key is None else key_function(settings.key)

    @property
    def of_level(self) -> str:
        """Behind "workers" in a sentence."""
        return f" of the level {self.settings.name}" if self.settings.name else ""

    @property
    def settled(self) -> list[int]:
        """Items and calls that are settled, by :class:`Fate`."""
        figures = self.pool.figures
        return list(map(add, figures.items.settled, figures.calls.settled))

    def start(self) -> None:
        """Start the workers. A second call does nothing.

        Raises:
            UnpicklableError: a class of the crawl cannot cross. Nothing has been started then.
        """
        if not self.has_started:
            self.pool.start()
            self.has_started = True

    async def outcome(
        self,
        hop: int,
        shipment: Shipment,
        key: Any = None,
        committed: Awaitable[None] | None = None,
        limit: float | None = None,
    ) -> Outcome | GivenUp:
        """Send an item to a worker and wait for what becomes of it.

        Args:
            hop: where it goes, or ``CALL``.
            key: of the item, if the level has keys.
            committed: goes first.
            limit: seconds that it may take, if not those of the level.
        """
        size = shipment.size
        if not self.backpressure.enter_at_once(size):
            await self._enter(size)
        task_id = None
        try:
            if committed is not None:
                await committed
            outcome, settle = self._loop.waiter()
            task_id = self._submit(hop, shipment, key, settle, limit)
            return await outcome  # type: ignore[no-any-return]
        except BaseException:
            # The wait was cancelled. An item goes on all the same, as it would inline, and is
            # counted; a call is begun for nobody else.
            if task_id is not None and hop == CALL:
                self.pool.withdraw(task_id)
            raise
        finally:
            self.backpressure.leave(size)

    async def take(
        self,
        hop: int,
        shipment: Shipment,
        key: Any,
        committed: Awaitable[None] | None,
        settled: Callable[[Outcome | GivenUp], None],
    ) -> None:
        """Wait for room only; *settled* is called with what becomes of the item."""
        size = shipment.size
        if not self.backpressure.enter_at_once(size):
            await self._enter(size)
        try:
            if committed is not None:
                await committed
        except BaseException:
            self.backpressure.leave(size)
            raise

        def settle(outcome: Outcome | GivenUp) -> None:
            try:
                settled(outcome)
            finally:
                self.backpressure.leave(size)

        self._submit(hop, shipment, key, settle)

    async def _enter(self, size: int) -> None:
        # Those inside might wait for others to go with, and none can come in any more.
        self.pool.flush()
        await self.backpressure.enter(size)

    def _submit(
        self,
        hop: int,
        shipment: Shipment,
        key: Any,
        settle: Callable[[Outcome | GivenUp], None],
        limit: float | None = None,
    ) -> int:
        frame, results = shipment.frame, shipment.results
        return self.pool.submit(hop, frame.data, frame.needs, settle, results, key, limit)


def read_result(level: Level, hop: int, outcome: Outcome, read: Callable[[], _T]) -> _T:
    """What a level has sent; if it cannot be loaded, the item has failed there after all."""
    try:
        return read()
    except UnreadableError:
        level.pool.figures.unreadable(hop, outcome.fate)
        raise
