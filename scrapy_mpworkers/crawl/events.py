"""Side effects of items, and the news of workers, take place in Scrapy's process."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, DropItem

from scrapy_mpworkers.crawl.patches import SpiderCloser
from scrapy_mpworkers.crawl.unhandled import told_once
from scrapy_mpworkers.errors import PoolBroken, WorkerStartError
from scrapy_mpworkers.eventloop import EventLoop, Latch
from scrapy_mpworkers.pool.interface import PoolEvents
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.stores.dead_letters import readable, shown
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.effects import ADD_UP, HEEDS_CLOSE_SPIDER, Effects, unpack_record
from scrapy_mpworkers.wire.exceptions import unpack_exception
from scrapy_mpworkers.wire.texts import ascii_safe, formatted, named, text_of, writable

logger = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]
_PYTHON_WARNINGS = "py.warnings"  # the logger of logging.captureWarnings
#: Texts of warnings to remember. Those that name an item each would fill the memory.
_MOST_WARNINGS = 1000
_said_at_import: set[str] = set()  # of this process, whichever crawl it was


class EffectsSink:
    """Takes side effects of one crawl's items: stats, log records, wishes to close the spider."""

    def __init__(self, crawler: Crawler, codec: ParentCodec) -> None:
        self.closer = SpiderCloser(crawler)
        self._crawler = crawler
        self._codec = codec
        self._said: set[str] = set()
        self._warned_by: dict[str, set[int | None]] = {}  # processes, by the text of the warning

    def failure(self, data: bytes) -> Exception:
        """An exception that a worker reported outside any item."""
        return unpack_exception(self._codec.load(data), self._codec.load)

    def take(
        self, effects: bytes | None, least_level: int | None = None, adds_up: bool = False
    ) -> None:
        """Merge stats, handle log records, relay a wish to close the spider.

        Args:
            least_level: if given, take nothing but records of at least this level.
            adds_up: take the stats that add up over workers all the same.
        """
        if effects is None:
            return
        try:
            came: Effects = self._codec.load(effects)
        # Values of stats and extras of log records may be of any class.
        except BaseException as error:
            logger.warning(
                "Stats and log records of a worker cannot be loaded: %s", writable(named(error))
            )
            return
        for wired in came.records:
            record = unpack_record(wired, self._codec.load)
            if record.levelno >= (least_level or 0):
                self._log(record)
        for change in came.stats:
            if least_level is None or (adds_up and change.method in ADD_UP):
                getattr(self._crawler.stats, change.method)(*change.args)
        if least_level is None and came.close_reason is not None:
            self.closer.ask(came.close_reason)

    def has_said(self, line: str) -> None:
        """Note that Scrapy's process has given a warning of ours that workers would give again."""
        self._said.add(line)

    def tell_of(self, error: Exception, of_level: str, content: Any) -> None:
        """Log what was raised for an item that the crawl does not wait for, with its fields."""
        is_drop = isinstance(error, DropItem)
        trace = "" if is_drop else formatted(error)
        # A handler that writes UTF-8 would lose a record with a traceback that is none.
        is_writable = trace == writable(trace)
        logger.log(
            self._level_of_drop(error) if is_drop else logging.ERROR,
            "%s at%s, which the crawl does not wait for: %s\n%s%s",
            "Dropped" if is_drop else "Failed",
            of_level.removeprefix(" of"),
            ascii_safe(text_of(error)),
            shown(readable(content)),
            "" if is_writable else f"\n{writable(trace)}",
            exc_info=error if trace and is_writable else None,
            extra={"spider": self._crawler.spider},
        )

    def _level_of_drop(self, error: Exception) -> int:
        named = getattr(error, "log_level", None)
        if named is None:
            named = self._crawler.settings["DEFAULT_DROPITEM_LOG_LEVEL"]
        return named if isinstance(named, int) else logging.getLevelName(named)

    def _log(self, record: logging.LogRecord) -> None:
        at_import = record.__dict__.pop("at_import", None)
        if at_import is not None:
            # A module is imported once in Scrapy's process, and in workers many times.
            if at_import in _said_at_import:
                return
            _said_at_import.add(at_import)
        if record.name.startswith(f"{_PACKAGE}."):
            # A warning of ours: every worker finds the same fault, once is enough.
            line = getattr(record, "said_once", record.getMessage())
            if line in self._said:
                return
            self._said.add(line)
        if record.name == _PYTHON_WARNINGS and self._has_warned(record):
            return
        target = logging.getLogger(record.name)
        if target.isEnabledFor(record.levelno):
            target.handle(record)

    def _has_warned(self, record: logging.LogRecord) -> bool:
        """Return whether another worker has given the same warning of Python.

        Python gives it once in a process, and inline there is but one. A process that gives it
        again was told to (``-W always``), and would do so inline.
        """
        text = record.getMessage()
        if len(self._warned_by) == _MOST_WARNINGS and text not in self._warned_by:
            return False
        others = self._warned_by.setdefault(text, set())
        is_first_of_its_process = record.process not in others
        others.add(record.process)
        return is_first_of_its_process and len(others) > 1


class CrawlEvents(PoolEvents):
    """Turns the news of one level's workers into logs, stats and errors of the crawl.

    Args:
        level: its name, if it has one.

    Attributes:
        started: opens when the first worker is ready, or with the error that keeps it from that.
        close_failures: what ``close_spider`` raised in workers.
        of_level: belongs behind "workers" in a sentence.
        began_at: when the level was made, ``time.monotonic()``.
        is_broken: its workers have been given up.
    """

    def __init__(self, effects: EffectsSink, loop: EventLoop, level: str) -> None:
        self.started = Latch(loop)
        self.close_failures: list[Exception] = []
        self._effects = effects
        self.of_level = f" of the level {level}" if level else ""
        self.began_at = monotonic()
        self.is_broken = False

    def label(self, task: Task) -> str:
        return "" if task.subject is None else str(task.subject.label)

    def opened(self, effects: bytes | None, is_first: bool) -> None:
        """Note that a worker is ready; all effects of the first count, of others only errors."""
        try:
            self._effects.take(effects, None if is_first else logging.ERROR)
        # The user's stats collector, log filters and handlers run here. In one process it would be
        # the pipeline that could not be opened.
        except Exception as error:
            logger.exception(
                "Stats and log records of a worker that has opened could not be taken over"
            )
            self.started.open(error)
            return
        if is_first:
            seconds = monotonic() - self.began_at
            logger.info("Workers%s ready after %.2f s", self.of_level, seconds)
            self.started.open()

    def boot_failed(self, worker: str, failure: bytes) -> None:
        """A worker could not open its pipelines: at the start, that stops the crawl."""
        error = self._effects.failure(failure)
        if isinstance(error, CloseSpider) and HEEDS_CLOSE_SPIDER and not self.started.is_open:
            logger.info("%s closes the spider: a pipeline raised CloseSpider as it opened", worker)
        elif self.started.is_open:
            logger.error("%s could not open its pipelines", worker, exc_info=error)
        else:
            logger.error(
                "%s could not open its pipelines, so the crawl ends: %s%s",
                worker,
                writable(named(error)),
                writable(told_once(error)),
            )
        self.started.open(error)

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, is_first: bool
    ) -> None:
        """Note that a worker has closed its pipelines; all effects of the first count, of others
        only errors and the stats that add up: the rows of a last flush, for one."""
        try:
            self._effects.take(effects, None if is_first else logging.ERROR, adds_up=True)
        except Exception as raised:
            logger.exception(
                "Stats and log records of %s, which has closed, could not be taken over",
                worker,
            )
            self.close_failures.append(raised)
        if failure is not None:
            error = self._effects.failure(failure)
            logger.error("%s could not close its pipelines: %s", worker, writable(named(error)))
            self.close_failures.append(error)

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up; the crawl closes."""
        self.is_broken = True
        if not self.started.is_open:
            stopped = WorkerStartError(str(error))
            told_once(stopped)
            self.started.open(stopped)
            return
        self._effects.closer.ask("mpworkers_broken")
