"""Owns the workers of one crawl: starts them before the first item, joins them at the end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured

from scrapy_mpworkers import summary
from scrapy_mpworkers.backpressure import Backpressure
from scrapy_mpworkers.closing import Closing
from scrapy_mpworkers.crossing import Crossing, Shipment
from scrapy_mpworkers.errors import UnpicklableError, UnreadableError
from scrapy_mpworkers.hops import hops_of, is_contract_check
from scrapy_mpworkers.keeping import Keeping
from scrapy_mpworkers.local import make_pool, make_processes
from scrapy_mpworkers.loops import CrawlLoop, Gate, current_loop
from scrapy_mpworkers.news import PoolNews
from scrapy_mpworkers.pool.interface import GivenUp
from scrapy_mpworkers.seams import ScraperNudge, count_items_of_start, when_closing_begins
from scrapy_mpworkers.settings import (
    Entry,
    WorkerSettings,
    read_settings,
    usable_cpus,
    warn_of_unknown_names,
)
from scrapy_mpworkers.stats import publish
from scrapy_mpworkers.wire.messages import Fate, Outcome

logger = logging.getLogger(__name__)

_ADDON = "scrapy_mpworkers.addon"  # by name, as it imports this module


class WorkerExtension:
    """The workers of a crawl, for its hops and for whoever gets it from the crawler."""

    def __init__(
        self, crawler: Crawler, options: WorkerSettings, hops: tuple[tuple[Entry, ...], ...]
    ) -> None:
        self._crawler = crawler
        self._options = options
        self._hops = hops
        self.keeping = Keeping(crawler, options, hops)
        self._processes = make_processes(crawler.spidercls, options, hops)
        self._loop: CrawlLoop | None = None
        self._started: Gate | None = None
        self._stopped: Gate | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> WorkerExtension:
        """The extension of this crawl.

        Raises:
            NotConfigured: there is nothing to offload.
            SettingError: a setting has a value that cannot work.
        """
        if not any(type(addon).__module__ == _ADDON for addon in crawler.addons.addons):
            warn_of_unknown_names(crawler.settings)
        options = read_settings(crawler.settings)
        hops = hops_of(crawler.settings, options)
        if not options.enabled or not any(hops) or is_contract_check():
            raise NotConfigured
        extension = cls(crawler, options, hops)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        if extension._processes is not None:
            # It imports while Scrapy goes on to start.
            extension._processes.launch_server()
        return extension

    async def ensure_started(self) -> None:
        """Start the workers, once, and wait until the first one is ready.

        Raises:
            Exception: what a worker raised while it built or opened its pipelines.
            WorkerStartError: none became ready.
        """
        if self._started is None:
            self._start()
        assert self._started is not None
        try:
            await self._started.wait()
        except BaseException:
            await self._abandon()
            raise

    async def process(self, hop: int, item: Any) -> Any:
        """Run *item* through the pipelines of *hop* in a worker.

        Raises:
            Exception: what they raised, or why the item was given up.
        """
        try:
            shipment = self._crossing.ship(item)
        except UnpicklableError:
            self._pool.figures.refused()
            raise
        journaled = self.keeping.take(hop, item, shipment)
        committed = None if journaled is None else journaled.committed
        outcome = await self._outcome(hop, shipment, committed)
        if isinstance(outcome, GivenUp):
            self.keeping.bury(hop, shipment, outcome)
        elif outcome.effects is not None:
            self._crossing.take_effect(outcome.effects)
        if journaled is not None:
            journaled.settled()
        try:
            return shipment.outcome(outcome)
        except UnreadableError:
            assert isinstance(outcome, Outcome)
            self._pool.figures.unreadable(Fate(outcome.fate))
            raise

    async def _outcome(
        self, hop: int, shipment: Shipment, committed: Awaitable[None] | None
    ) -> Outcome | GivenUp:
        frame = shipment.frame
        size = len(frame.data)
        if not self._backpressure.enter_at_once(size):
            await self._backpressure.enter(size)
        try:
            if committed is not None:
                await committed
            assert self._loop is not None
            outcome, settle = self._loop.waiter()
            self._pool.submit(hop, frame.data, frame.needs, settle)
            return await outcome  # type: ignore[no-any-return]
        finally:
            self._backpressure.leave(size)

    async def room(self) -> None:
        """Wait until one more item would be within ``MPWORKERS_MAX_PENDING`` and its bytes."""
        if self._started is not None:
            await self._backpressure.room()

    async def stop(self) -> None:
        """Drain, stop, join. Safe to call twice, and without a start.

        Raises:
            Exception: what a pipeline's ``close_spider`` raised in a worker.
        """
        if self._started is None:
            self._release_server()
            return
        assert self._loop is not None
        if self._stopped is None:
            self._stopped = Gate(self._loop)
            self._closing.begin()
            self._backpressure.when_drained(self._stop_pool)
        await self._stopped.wait()
        if self._news.close_failures:
            raise self._news.close_failures.pop(0)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Handler of the signal, which is sent even where ``close_spider`` is never called."""
        try:
            await self.stop()
        finally:
            if self._started is not None and self._pool.figures.started:
                figures, now = self._pool.figures, monotonic()
                publish(figures, self._crawler.stats)
                # After a start that failed there is nothing to sum up, and an error to be read.
                if any(worker.lived(now) for worker in figures.workers):
                    table = summary.table(figures, now, usable_cpus())
                    logger.info("Workers' summary:\n%s", table, extra={"spider": spider})
            await self.keeping.close()
            if self._loop is not None:
                self._loop.close()

    # Start

    def _start(self) -> None:
        self._loop = current_loop()
        self._started = Gate(self._loop)
        self._crossing = Crossing(self._crawler, self._hops)
        self.keeping.start(self._crossing.codec, self._loop)
        self._news = PoolNews(self._crawler, self._crossing, self._started)
        self._pool = make_pool(
            self._options, self._crossing, self._processes, self._news, self._loop
        )
        self._nudge = ScraperNudge(self._crawler, self._loop, lambda: self._backpressure.pending)
        self._backpressure = Backpressure(
            self._loop,
            self._options.max_pending,
            self._options.max_pending_bytes,
            self._nudge.look_soon,
        )
        self._closing = Closing(
            self._loop, self._pool, self._backpressure, self._options.close_timeout
        )
        when_closing_begins(self._crawler, self._closing.begin)
        count_items_of_start(self._crawler)
        self._pool.start()
        self._report_progress_later()

    async def _abandon(self) -> None:
        """The start has failed: let go of what was started, and let the error through."""
        self._pool.kill()
        self._news.close_failures.clear()
        try:
            await self.stop()
        except Exception:
            logger.debug("Stopping after a failed start", exc_info=True)

    def _release_server(self) -> None:
        if self._processes is not None:
            self._processes.abandon()

    # While it runs

    def _report_progress_later(self) -> None:
        interval = self._crawler.settings.getfloat("LOGSTATS_INTERVAL")
        if interval and self._loop is not None:
            self._loop.call_later(interval, lambda: self._report_progress(interval, monotonic()))
            self._settled_before = sum(self._pool.figures.settled)

    def _report_progress(self, interval: float, now: float) -> None:
        if self._stopped is not None:
            return
        figures = self._pool.figures
        per_minute = (sum(figures.settled) - self._settled_before) * 60 / interval
        busy, ready = self._pool.workers()
        publish(figures, self._crawler.stats)
        logger.info(
            summary.progress(figures, busy, ready, self._backpressure.pending, per_minute),
            extra={"spider": self._crawler.spider},
        )
        self._report_progress_later()

    def _stop_pool(self) -> None:
        assert self._stopped is not None
        self._pool.stop(self._options.close_timeout, self._stopped.open)
