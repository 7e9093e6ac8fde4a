"""The workers of one level in one crawl, as its items meet them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from scrapy_mpworkers.backpressure import Backpressure
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.inline import InProcessPool
from scrapy_mpworkers.keys import key_function
from scrapy_mpworkers.loops import CrawlLoop
from scrapy_mpworkers.news import PoolNews
from scrapy_mpworkers.pool.interface import GivenUp
from scrapy_mpworkers.pool.pool import Pool
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.shipment import Shipment
from scrapy_mpworkers.wire.messages import Outcome


class Level:
    """A pool, and the bound of what is pending.

    Args:
        news: the pool's listener.
    """

    def __init__(
        self,
        settings: LevelSettings,
        loop: CrawlLoop,
        pool: Pool | InProcessPool,
        backpressure: Backpressure,
        news: PoolNews,
    ) -> None:
        self.settings = settings
        self.waits = settings.wait
        self.pool = pool
        self.backpressure = backpressure
        self.news = news
        self._loop = loop
        #: computes the key of an item, if the level has keys
        self.key = None if settings.key is None else key_function(settings.key)

    async def outcome(
        self, hop: Hop, shipment: Shipment, key: Any, committed: Awaitable[None] | None
    ) -> Outcome | GivenUp:
        """Send an item to a worker and wait for what becomes of it; *committed* goes first."""
        size = shipment.size
        if not self.backpressure.enter_at_once(size):
            await self._enter(size)
        try:
            if committed is not None:
                await committed
            outcome, settle = self._loop.waiter()
            self._submit(hop, shipment, key, settle)
            return await outcome  # type: ignore[no-any-return]
        finally:
            self.backpressure.leave(size)

    async def take(
        self,
        hop: Hop,
        shipment: Shipment,
        key: Any,
        committed: Awaitable[None] | None,
        settled: Callable[[Outcome | GivenUp], None],
    ) -> None:
        """Wait for room only; *settled* is called with what becomes of the item."""
        size = shipment.size
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
        if not self.backpressure.enter_at_once(size):
            # Those inside might wait for company, which cannot come in any more.
            self.pool.flush()
            await self.backpressure.enter(size)

    def _submit(
        self, hop: Hop, shipment: Shipment, key: Any, settle: Callable[[Outcome | GivenUp], None]
    ) -> None:
        frame = shipment.frame
        self.pool.submit(hop.number, frame.data, frame.needs, settle, shipment.results, key)
