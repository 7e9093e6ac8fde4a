"""Collects log records until the report of their item leaves."""

from __future__ import annotations

import logging

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.effects import WireRecord, pack_record
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker import early_logs


class Records:
    """Keeps the log records of one crawl in this process, in their wire form, until they are taken.

    Args:
        codec: pickles for that crawl.
    """

    def __init__(self, codec: WorkerCodec) -> None:
        self._codec = codec
        self._records: list[WireRecord] = []

    def collect(self) -> None:
        """Make what is logged here from now on this crawl's, and what nobody has had yet."""
        collector.collect_for(self)

    def add(self, record: logging.LogRecord) -> None:
        self._records.append(pack_record(record, self._codec.dump))

    def take(self) -> tuple[WireRecord, ...]:
        if not self._records:
            return ()
        records, self._records = self._records, []
        return tuple(records)


class RecordCollector(logging.Handler):
    """Handles all that is logged in a worker."""

    def __init__(self) -> None:
        super().__init__()
        self._records: Records | None = None
        self._levels: LogLevels | None = None
        self._early: list[logging.LogRecord] = []

    def take_over(self) -> None:
        """Take the place of what has kept records so far, and these records."""
        self._early = early_logs.end()
        logging.root.addHandler(self)

    def set_levels(self, levels: LogLevels) -> None:
        """Keep what a crawl wants at these levels."""
        self._levels = levels

    def collect_for(self, records: Records) -> None:
        """Collect for a crawl from now on, and what was logged while modules were imported."""
        self._records = records
        early, self._early = self._early, []
        for record in early:
            if logging.getLogger(record.name).isEnabledFor(record.levelno):
                record.at_import = f"{record.pathname}:{record.lineno} {record.getMessage()}"
                self.handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._records is not None and self._levels is not None and self._levels.want(record):
                self._records.add(record)
        except Exception:
            self.handleError(record)


#: Of this process.
collector = RecordCollector()


def log_like_parent(levels: LogLevels) -> None:
    """Make this process log at the parent's levels into the collector.

    The parent's own handlers get the records.
    """
    if collector not in logging.root.handlers:
        collector.take_over()
        PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
    logging.root.setLevel(levels.root)
    for name, level in levels.named.items():
        logging.getLogger(name).setLevel(level)
    collector.set_levels(levels)
    logging.captureWarnings(levels.capture_warnings)
