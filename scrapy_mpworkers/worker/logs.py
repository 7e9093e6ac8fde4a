"""Collects log records until the report of their item leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.effects import WireRecord, pack_record


def collect_records(levels: LogLevels, dump: Callable[[Any], bytes]) -> RecordCollector:
    """Make this process log as the parent wants it, into the collector that is returned.

    Handlers that came with a fork are taken off: the parent's own handlers get the records.
    """
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in [logging.root, *known]:
        logger.handlers.clear()
        logger.propagate = True
    logging.root.setLevel(levels.root)
    for name, level in levels.named.items():
        logging.getLogger(name).setLevel(level)
    collector = RecordCollector(levels.wanted, dump)
    logging.root.addHandler(collector)
    logging.captureWarnings(levels.capture_warnings)
    PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
    return collector


class RecordCollector(logging.Handler):
    """Keeps records, in their wire form, until they are taken."""

    def __init__(self, level: int, dump: Callable[[Any], bytes]) -> None:
        super().__init__(level)
        self._dump = dump
        self._records: list[WireRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held, from any thread."""
        try:
            self._records.append(pack_record(record, self._dump))
        except Exception:
            self.handleError(record)

    def take(self) -> tuple[WireRecord, ...]:
        """The records since the last call."""
        records, self._records = self._records, []
        return tuple(records)
