"""Tells the log and the stats of the workers, while the crawl runs and at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from time import monotonic, thread_time
from typing import TYPE_CHECKING

from scrapy.crawler import Crawler
from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.crawl.fresh_stats import keep_fresh
from scrapy_mpworkers.crawl.manager import LevelManager
from scrapy_mpworkers.crawl.totals import ItemTotals
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.settings import WorkerSettings
from scrapy_mpworkers.status import summary

if TYPE_CHECKING:
    from scrapy_mpworkers.status.history import History
    from scrapy_mpworkers.status.observer import Observer
    from scrapy_mpworkers.status.site import WatchedCrawl
    from scrapy_mpworkers.status.snapshot import Snapshot

logger = logging.getLogger(__name__)

#: Seconds after which the first progress lines come; then they come every LOGSTATS_INTERVAL.
_EARLY = (5.0, 15.0, 30.0)


class Reporter:
    """Reports on the workers of one crawl."""

    def __init__(self, crawler: Crawler, manager: LevelManager, options: WorkerSettings) -> None:
        self._crawler = crawler
        self._options = options
        self._manager = manager
        self._opened = ExitStack()
        self._totals: ItemTotals | None = None  #: of a crawl that has begun
        self._began = (monotonic(), thread_time())

    @cached_property
    def _observer(self) -> Observer:
        # Late: its classes take milliseconds to make, and a crawl is to start at once.
        from scrapy_mpworkers.status.observer import Observer

        return Observer(self._crawler, self._manager, self._began)

    @cached_property
    def history(self) -> History:
        """Return what has been recorded for the page and the report."""
        from scrapy_mpworkers.status.history import History

        return History()

    def snapshot(self, with_pss: bool = False) -> Snapshot:
        """Return a picture of what the workers are at now."""
        return self._observer.snapshot(with_pss)

    def begin(self, loop: EventLoop, crawl: WatchedCrawl, totals: ItemTotals) -> None:
        """Write a line to the log now and then, until the workers are to stop, and record a history
        if anybody is to see it; open the page of *crawl*, which is the one that is reported on."""
        self._totals = totals
        self._began = (monotonic(), thread_time())
        if self._options.report is not None or self._options.page is not None:
            self.history.record(loop, lambda: self._observer.sample(with_pss=True))
        if self._options.page is not None:
            from scrapy_mpworkers.status.server import open_page

            page = open_page(crawl, self._options.page_host, self._options.page)
            if page is not None:
                self._opened.callback(page.leave, crawl)
        if isinstance(self._crawler.stats, StatsCollector):
            stats = keep_fresh(self._crawler.stats, summary.PREFIX, self._publish)
            if stats is not None:
                self._opened.callback(stats.end)
        self._report_progress_later(loop)

    def _publish(self) -> None:
        started = self._manager.started
        if self._totals is not None and started:
            summary.publish(started, self._totals.counts(), self._crawler.stats)

    def _report_progress_later(self, loop: EventLoop) -> None:
        interval = self._crawler.settings.getfloat("LOGSTATS_INTERVAL")
        if interval:
            pause = until_next_line(monotonic() - self._began[0], interval)
            loop.call_later(pause, lambda: self._report_progress(loop))

    def _report_progress(self, loop: EventLoop) -> None:
        if self._manager.is_stopping:
            return
        self._publish()
        for level in self.snapshot().levels:
            self._log(summary.progress(level))
        self._report_progress_later(loop)

    def look_at_the_end(self) -> None:
        """Look at the workers once more while they are there, unless the crawl was short."""
        if self._totals is not None and monotonic() - self._began[0] >= _EARLY[0]:
            self.snapshot()

    def sum_up(self) -> None:
        """Close the page, set the last stats, log a table for each level, and leave the report."""
        with self._opened:
            self._publish()
        tables = list(self._tables()) if self._totals is not None else []
        for table in tables:
            self._log(table)
        if self._options.report is not None:
            self._leave_report(self._options.report, tables)

    def _tables(self) -> Iterable[str]:
        assert self._totals is not None
        now, snapshot = monotonic(), self.snapshot()
        # After a start that failed there is nothing to sum up, and an error to be read.
        had_workers = [
            level
            for level in self._manager.started
            if any(worker.lived(now) for worker in level.executor.metrics.workers)
        ]
        totals = self._totals.counts()
        return summary.tables(had_workers, totals, snapshot.slowest, snapshot.verdict)

    def _leave_report(self, path: Path, tables: Iterable[str]) -> None:
        from scrapy_mpworkers.status import report

        snapshot = self.snapshot()
        self.history.add(snapshot)
        facts = report.facts(self._crawler.settings, "\n\n".join(tables))
        history = self.history.as_dict()
        try:
            report.write(path, {"snapshot": snapshot.as_dict(), "history": history, "facts": facts})
        except OSError as error:
            logger.error("The report of the workers could not be written: %s", error)
        else:
            self._log(f"The workers' report is in {path}")

    def _log(self, text: str) -> None:
        logger.info("%s", text, extra={"spider": self._crawler.spider})


def until_next_line(elapsed: float, interval: float) -> float:
    """Return the seconds until the next progress line: some come early in a crawl."""
    return min([interval, *(early - elapsed for early in _EARLY if elapsed < early - 0.01)])
