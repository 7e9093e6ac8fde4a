"""What the pool tells becomes what the crawl sees: logs, stats, errors, the end of the spider."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from scrapy_mpworkers.crawl.context import CrawlContext
from scrapy_mpworkers.errors import PoolBroken, WorkerStartError
from scrapy_mpworkers.eventloop import Latch
from scrapy_mpworkers.pool.interface import PoolEvents
from scrapy_mpworkers.wire.texts import named, writable

logger = logging.getLogger(__name__)


class CrawlEvents(PoolEvents):
    """A pool's listener in one crawl.

    Args:
        started: opened when the first worker is ready, or with the error that keeps it from that.
        level: its name, if it has one.
    """

    def __init__(self, crossing: CrawlContext, started: Latch, level: str) -> None:
        self._crossing = crossing
        self.started = started
        self._whose = f" of the level {level}" if level else ""
        self._began = monotonic()
        #: told how many pending items the workers have room for, if nobody has set a bound
        self.widen: Callable[[int], None] | None = None
        self.close_failures: list[Exception] = []  #: what ``close_spider`` raised in workers

    def opened(self, effects: bytes | None, speaks: bool) -> None:
        """A worker is ready. Of opening, one speaks for all; errors of the others are heard."""
        self._crossing.take_effect(effects, None if speaks else logging.ERROR)
        if speaks:
            seconds = monotonic() - self._began
            logger.info("Workers%s ready after %.2f s", self._whose, seconds)
            self.started.open()

    def boot_failed(self, worker: str, failure: bytes) -> None:
        """A worker could not open its pipelines: at the start, that stops the crawl."""
        error = self._crossing.failure(failure)
        if self.started.is_open:
            logger.error("%s could not open its pipelines", worker, exc_info=error)
        else:
            # Scrapy logs the error itself, last of all and behind two tracebacks.
            logger.error(
                "%s could not open its pipelines, so the crawl ends: %s",
                worker,
                writable(named(error)),
            )
        self.started.open(error)

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, speaks: bool
    ) -> None:
        """A worker has closed its pipelines. One speaks for all, but what each has counted adds up:
        the rows of a last flush, for one."""
        self._crossing.take_effect(effects, None if speaks else logging.ERROR, adds_up=True)
        if failure is not None:
            error = self._crossing.failure(failure)
            logger.error("%s could not close its pipelines: %s", worker, writable(named(error)))
            self.close_failures.append(error)

    def has_room(self, items: int) -> None:
        """More may be pending: the workers are more than the settings could know."""
        if self.widen is not None:
            self.widen(items)

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up; the crawl closes."""
        if not self.started.is_open:
            self.started.open(WorkerStartError(str(error)))
            return
        self._crossing.closer.ask("mpworkers_broken")
