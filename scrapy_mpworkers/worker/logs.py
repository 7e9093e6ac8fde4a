"""Collects the log records of a crawl until the report of their item leaves."""

from __future__ import annotations

import logging

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.effects import WireRecord, pack_record
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.record_collector import RecordCollector, collector


class Records:
    """Keeps the log records of one crawl, in their wire form, until they are taken."""

    def __init__(self, codec: WorkerCodec, source: RecordCollector) -> None:
        self._codec = codec
        self._source = source
        self._records: list[WireRecord] = []

    def collect(self) -> None:
        """Take the records that are logged from now on, and those that no crawl has taken yet."""
        self._source.collect_for(self._add)

    def take(self) -> tuple[WireRecord, ...]:
        if not self._records:
            return ()
        records, self._records = self._records, []
        return tuple(records)

    def _add(self, record: logging.LogRecord) -> None:
        packed = pack_record(record, self._codec.dump)
        self._records.append(packed)  # looked up now, as they may have been taken meanwhile


def log_like_parent(levels: LogLevels) -> RecordCollector:
    """Make this process log at the parent's levels into the collector, which is returned.

    The parent's own handlers get the records.
    """
    if collector not in logging.root.handlers or not collector.has_crawl:
        logging.root.addHandler(collector)  # the user's code may have removed it
        PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
    logging.root.setLevel(levels.root)
    for name, level in levels.named.items():
        logging.getLogger(name).setLevel(level)
    collector.set_levels(levels)
    logging.captureWarnings(levels.capture_warnings)
    return collector
