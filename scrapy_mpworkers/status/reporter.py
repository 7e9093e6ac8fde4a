"""Tells the log and the stats of the workers, while the crawl runs and at its end."""

from __future__ import annotations

import logging
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.manager import LevelManager
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.status import summary

if TYPE_CHECKING:
    from scrapy_mpworkers.status.observer import Observer
    from scrapy_mpworkers.status.snapshot import Snapshot

logger = logging.getLogger(__name__)


class Reporter:
    """Reports on the workers of one crawl.

    Args:
        manager: has their levels.
    """

    def __init__(self, crawler: Crawler, manager: LevelManager) -> None:
        self._crawler = crawler
        self._manager = manager

    @cached_property
    def _observer(self) -> Observer:
        # Late: its classes take milliseconds to make, and a crawl is to start at once.
        from scrapy_mpworkers.status.observer import Observer

        return Observer(self._crawler, self._manager)

    def snapshot(self, with_pss: bool = False) -> Snapshot:
        """Return a picture of what the workers are at now."""
        return self._observer.snapshot(with_pss)

    def begin(self, loop: EventLoop) -> None:
        """Write a line to the log now and then, until the workers are to stop."""
        interval = self._crawler.settings.getfloat("LOGSTATS_INTERVAL")
        if interval:
            loop.call_later(interval, lambda: self._report_progress(loop))

    def _report_progress(self, loop: EventLoop) -> None:
        if self._manager.is_stopping:
            return
        summary.publish(self._manager.started, self._crawler.stats)
        for level in self.snapshot().levels:
            self._log(summary.progress(level))
        self.begin(loop)

    def sum_up(self) -> None:
        """Set the last stats, and write a table for each level to the log."""
        started, now = self._manager.started, monotonic()
        if not any(level.executor.metrics.started for level in started):
            return
        summary.publish(started, self._crawler.stats)
        for level in started:
            # After a start that failed there is nothing to sum up, and an error to be read.
            if any(worker.lived(now) for worker in level.executor.metrics.workers):
                has_batches = level.settings.batch_size > 0
                cpus = self._manager.cpus
                table = summary.table(level.executor.metrics, now, cpus, has_batches)
                self._log(f"Workers' summary{level.of_level}:\n{table}")

    def _log(self, text: str) -> None:
        logger.info("%s", text, extra={"spider": self._crawler.spider})
