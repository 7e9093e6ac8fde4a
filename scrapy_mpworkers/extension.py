"""Owns the workers of one crawl: starts them before the first item, joins them at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from time import monotonic
from typing import Any

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured

from scrapy_mpworkers import summary
from scrapy_mpworkers.backpressure import Backpressure
from scrapy_mpworkers.closing import Closing
from scrapy_mpworkers.cpus import usable_cpus
from scrapy_mpworkers.crossing import Crossing
from scrapy_mpworkers.hops import Hop, hops_of, is_contract_check
from scrapy_mpworkers.keeping import Keeping
from scrapy_mpworkers.levels import Level
from scrapy_mpworkers.local import make_pool, make_processes
from scrapy_mpworkers.loops import CrawlLoop, Gate, current_loop
from scrapy_mpworkers.news import PoolNews
from scrapy_mpworkers.routing import Routing
from scrapy_mpworkers.seams import ScraperNudge, count_items_of_start, when_closing_begins
from scrapy_mpworkers.settings import WorkerSettings, read_settings, warn_of_unknown_names
from scrapy_mpworkers.stats import publish

logger = logging.getLogger(__name__)

_ADDON = "scrapy_mpworkers.addon"  # by name, as it imports this module


class WorkerExtension:
    """The workers of a crawl, for its hops and for whoever gets it from the crawler."""

    def __init__(self, crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> None:
        self._crawler = crawler
        self._options = options
        self._hops = hops
        self.keeping = Keeping(crawler, options, hops)
        self._processes = [
            make_processes(crawler.spidercls, options, number, hops)
            for number in range(len(options.levels))
        ]
        self._levels: list[Level] = []
        self._loop: CrawlLoop | None = None
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
        if not options.enabled or not hops or is_contract_check():
            raise NotConfigured
        extension = cls(crawler, options, hops)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        for processes in extension._processes:
            if processes is not None:
                # It imports while Scrapy goes on to start.
                processes.launch_server()
        return extension

    async def ensure_started(self) -> None:
        """Start the workers, once, and wait until the first one of each level is ready.

        Raises:
            Exception: what a worker raised while it built or opened its pipelines.
            WorkerStartError: none became ready.
        """
        if not self._levels:
            self._start()
        try:
            for level in self._levels:
                await level.news.started.wait()
        except BaseException:
            await self._abandon()
            raise

    async def process(self, route: int, item: Any) -> Any:
        """Run *item* through the pipelines of *route* in workers.

        Raises:
            Exception: what they raised, or why the item was given up.
        """
        return await self._routing.process(route, item)

    async def room(self) -> None:
        """Wait until one more item would be within ``MPWORKERS_MAX_PENDING`` and its bytes."""
        for level in self._levels:
            await level.backpressure.room()

    def resumed(self) -> AsyncIterator[Any]:
        """The items that an earlier run has kept, for ``start()``."""
        return self._routing.resumed()

    async def stop(self) -> None:
        """Drain, stop, join. Safe to call twice, and without a start.

        Raises:
            Exception: what a pipeline's ``close_spider`` raised in a worker.
        """
        if not self._levels:
            self._release_servers()
            return
        assert self._loop is not None
        if self._stopped is None:
            self._stopped = Gate(self._loop)
            self._closing.begin()
            self._stop_when_drained()
        await self._stopped.wait()
        for level in self._levels:
            if level.news.close_failures:
                raise level.news.close_failures.pop(0)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Handler of the signal, which is sent even where ``close_spider`` is never called."""
        try:
            await self.stop()
        finally:
            if any(level.pool.figures.started for level in self._levels):
                publish(self._levels, self._crawler.stats)
                self._sum_up(spider)
            await self.keeping.close()
            if self._loop is not None:
                self._loop.close()

    # Start

    def _start(self) -> None:
        self._loop = current_loop()
        crossing = Crossing(self._crawler, self._options.levels, self._hops)
        self.keeping.start(crossing.codec, self._loop)
        self._nudge = ScraperNudge(self._crawler, self._loop, self._awaited)
        self._levels = [
            self._make_level(number, crossing, self._loop)
            for number in range(len(self._options.levels))
        ]
        self._routing = Routing(self._crawler, crossing, self.keeping, self._hops, self._levels)
        self._closing = Closing(self._loop, self._levels, self._options.close_timeout)
        when_closing_begins(self._crawler, self._closing.begin)
        count_items_of_start(self._crawler)
        for level in self._levels:
            level.pool.start()
        self._report_progress_later()

    def _make_level(self, number: int, crossing: Crossing, loop: CrawlLoop) -> Level:
        settings = self._options.levels[number]
        news = PoolNews(self._crawler, crossing, Gate(loop), settings.name)
        processes = self._processes[number]
        pool = make_pool(self._options, number, crossing, processes, news, loop)
        bounds = settings.pool.max_pending, settings.pool.max_pending_bytes
        backpressure = Backpressure(loop, *bounds, self._nudge.look_soon)
        return Level(settings, loop, pool, backpressure, news)

    def _awaited(self) -> int:
        """Items that the crawl waits for."""
        return sum(level.backpressure.pending for level in self._levels if level.waits)

    async def _abandon(self) -> None:
        """The start has failed: let go of what was started, and let the error through."""
        for level in self._levels:
            level.pool.kill()
            level.news.close_failures.clear()
        try:
            await self.stop()
        except Exception:
            logger.debug("Stopping after a failed start", exc_info=True)

    # While it runs

    def _report_progress_later(self) -> None:
        interval = self._crawler.settings.getfloat("LOGSTATS_INTERVAL")
        if interval and self._loop is not None:
            self._loop.call_later(interval, lambda: self._report_progress(interval))
            self._settled_before = [sum(level.pool.figures.settled) for level in self._levels]

    def _report_progress(self, interval: float) -> None:
        if self._stopped is not None:
            return
        publish(self._levels, self._crawler.stats)
        for level, before in zip(self._levels, self._settled_before, strict=True):
            per_minute = (sum(level.pool.figures.settled) - before) * 60 / interval
            line = summary.progress(
                level.settings.name,
                level.pool.figures,
                level.pool.workers(),
                level.backpressure.pending,
                per_minute,
            )
            logger.info(line, extra={"spider": self._crawler.spider})
        self._report_progress_later()

    # End

    def _stop_when_drained(self) -> None:
        for level in self._levels:
            if level.backpressure.pending:
                level.backpressure.when_drained(self._stop_when_drained)
                return
        assert self._stopped is not None
        working = list(self._levels)
        for level in self._levels:
            stopped = partial(self._has_stopped, level, working)
            level.pool.stop(self._options.close_timeout, stopped)

    def _has_stopped(self, level: Level, working: list[Level]) -> None:
        working.remove(level)
        if not working and self._stopped is not None:
            self._stopped.open()

    def _sum_up(self, spider: Spider) -> None:
        now = monotonic()
        for level in self._levels:
            figures = level.pool.figures
            # After a start that failed there is nothing to sum up, and an error to be read.
            if any(worker.lived(now) for worker in figures.workers):
                table = summary.table(figures, now, usable_cpus())
                whose = f" of the level {level.settings.name}" if level.settings.name else ""
                logger.info("Workers' summary%s:\n%s", whose, table, extra={"spider": spider})

    def _release_servers(self) -> None:
        for processes in self._processes:
            if processes is not None:
                processes.abandon()
