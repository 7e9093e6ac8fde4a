"""Results of a response are worked on as they come, not by a hundred tasks that wait for them.

Scrapy (2.13 to 2.19, asyncio) starts ``CONCURRENT_ITEMS`` tasks for every response, whether it
yields one item or none (scrapy/scrapy#5182). Inline they end at once. With items at workers they
are there as long as the item is: thousands of idle tasks, which the garbage collector walks again
and again. 3,000 pages of 19 KB took two thirds of the time without them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from scrapy import signals
from scrapy.core.scraper import Scraper
from scrapy.crawler import Crawler
from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.defer import aiter_errback, iter_errback

from scrapy_mpworkers.callbacks import Results
from scrapy_mpworkers.crawl.collector import PageCollector
from scrapy_mpworkers.crawl.patches import scraper_of

logger = logging.getLogger(__name__)


def take_results_on_demand(crawler: Crawler) -> None:
    """Let a response have a task for each result that there is, not for each that there may be.

    The scraper of this crawl alone changes, and only if its first response is seen to start all
    tasks at once. At most ``CONCURRENT_ITEMS`` results of a response are worked on at a time, as
    before; the next one is asked for when a task has ended.
    """
    if not is_asyncio_available():
        return  # Twisted's parallel() starts them at once, too, but its Deferreds are light
    scraper = scraper_of(crawler)
    theirs = getattr(Scraper, "handle_spider_output_async", None)
    if theirs is None or getattr(type(scraper), "handle_spider_output_async", None) is not theirs:
        logger.debug("Scrapy's scraper has changed: how it takes results is left to it")
        return
    on_demand = OnDemand(scraper)
    on_demand.look_at_the_first()
    # Not weakly, as receivers are by default: nobody else keeps this one alive.
    crawler.signals.connect(on_demand.collector.end, signals.spider_closed, weak=False)


class OnDemand:
    """Starts a task for a result of a response when the result is there."""

    def __init__(self, scraper: Any) -> None:
        self._scraper = scraper
        self.collector = PageCollector()

    def look_at_the_first(self) -> None:
        """Let Scrapy have the first response, and decide by the number of tasks that it starts."""
        self._scraper.handle_spider_output_async = self._observed

    async def _observed(self, results: Results, request: Any, response: Any) -> None:
        del self._scraper.handle_spider_output_async  # one look is enough
        # _decide() comes before the first turn of any task that Scrapy starts now: none has ended.
        asyncio.get_running_loop().call_soon(self._decide, asyncio.all_tasks())
        await self._scraper.handle_spider_output_async(results, request, response)

    def _decide(self, before: set[asyncio.Task[Any]]) -> None:
        if len(asyncio.all_tasks() - before) > self._scraper.concurrent_items:
            self._scraper.handle_spider_output_async = self._one_by_one
            self.collector.begin()

    async def _one_by_one(self, results: Results, request: Any, response: Any) -> None:
        scraper, tasks = self._scraper, _Tasks()
        limit, work = scraper.concurrent_items, scraper._process_spidermw_output_async
        error = scraper.handle_spider_error
        if isinstance(results, AsyncIterator):
            async for result in aiter_errback(results, error, request, response):
                tasks.begin(work(result, response))
                await tasks.fewer_than(limit)
        else:
            for result in iter_errback(results, error, request, response):
                tasks.begin(work(result, response))
                await tasks.fewer_than(limit)
        await tasks.fewer_than(1)
        self.collector.response_is_done(response)


class _Tasks:
    """The tasks of one response."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()  # the loop itself would forget them
        self._wait: asyncio.Future[None] | None = None

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        # A call that raises ends its own task only; asyncio logs the error, as it does of Scrapy's.
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def fewer_than(self, count: int) -> None:
        while len(self._running) >= count:
            self._wait = asyncio.get_running_loop().create_future()
            await self._wait

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(None)
