"""Collects log records until the report of their item leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.effects import WireRecord, pack_record


class Records:
    """The log records of one crawl in this process, in their wire form, until they are taken.

    Args:
        dump: pickles for that crawl.
    """

    def __init__(self, dump: Callable[[Any], bytes]) -> None:
        self._dump = dump
        self._records: list[WireRecord] = []

    def collect(self) -> None:
        """From now on what is logged here is this crawl's."""
        collector.records = self

    def add(self, record: logging.LogRecord) -> None:
        """Another one."""
        self._records.append(pack_record(record, self._dump))

    def take(self) -> tuple[WireRecord, ...]:
        """The records since the last call."""
        if not self._records:
            return ()
        records, self._records = self._records, []
        return tuple(records)


class RecordCollector(logging.Handler):
    """The one handler of a worker."""

    records: Records | None = None
    levels: LogLevels | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held, from any thread."""
        try:
            if self.records is not None and self.levels is not None and self.levels.want(record):
                self.records.add(record)
        except Exception:
            self.handleError(record)


#: Of this process.
collector = RecordCollector()


def log_like_parent(levels: LogLevels) -> None:
    """Make this process log as the parent wants it, into the collector.

    Handlers that came with a fork are taken off: the parent's own handlers get the records.
    """
    if collector not in logging.root.handlers:
        _take_over()
    logging.root.setLevel(levels.root)
    for name, level in levels.named.items():
        logging.getLogger(name).setLevel(level)
    collector.levels = levels
    logging.captureWarnings(levels.capture_warnings)


def _take_over() -> None:
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in [logging.root, *known]:
        logger.handlers.clear()
        logger.propagate = True
    logging.root.addHandler(collector)
    PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
