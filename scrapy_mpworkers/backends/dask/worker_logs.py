"""Consumers that are guests in a process of somebody else, such as a worker of a cluster.

What is logged there goes where it went before; only what the guests' own threads log is the
crawl's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.backends.dask.worker_thread import ThreadOwner, guest_of_thread
from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.worker import consumer
from scrapy_mpworkers.worker.logs import Records

#: Loggers of the host, whose levels are not the crawl's to set.
_OF_THE_HOST = ("distributed", "dask", "tornado", "bokeh")


describe = consumer.describe


def build(payload: bytes, definitions: Sequence[Definition]) -> consumer.CrawlConsumer:
    """Build a consumer in a thread of somebody else's process."""
    return consumer.build(payload, definitions, log_as_guest, ThreadRecords)


class ThreadRecords(Records):
    """The records of one seat."""

    def collect(self) -> None:
        """From now on what the seat's threads log is this crawl's."""
        guest = guest_of_thread()
        assert guest is not None
        _collector.records[guest] = self


class _Collector(logging.Handler):
    """Takes what guests log. What others log had another way, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: WeakKeyDictionary[ThreadOwner, Records] = WeakKeyDictionary()
        self.levels: WeakKeyDictionary[ThreadOwner, LogLevels] = WeakKeyDictionary()

    def emit(self, record: logging.LogRecord) -> None:
        guest = guest_of_thread()
        if guest is not None:
            try:
                if guest in self.records and self.levels[guest].want(record):
                    self.records[guest].add(record)
            except Exception:
                self.handleError(record)
        elif logging.root.handlers == [self] and _was_wanted(record):
            # As if there were no handler at all.
            last = logging.lastResort
            if last is not None and record.levelno >= last.level:
                last.handle(record)


class _AsBefore(logging.Filter):
    """Keeps from the host's handlers what guests log, and what was not logged before they came."""

    def filter(self, record: logging.LogRecord) -> bool:
        return guest_of_thread() is None and _was_wanted(record)


_collector = _Collector()
_as_before = _AsBefore()
_levels_before: dict[str, int] = {}  # of the loggers whose level was changed; "": the root's
_changing = threading.Lock()


def log_as_guest(levels: LogLevels) -> None:
    """Let loggers make the records that the crawl wants, and nobody else see them."""
    guest = guest_of_thread()
    assert guest is not None
    with _changing:
        _collector.levels[guest] = levels
        if _collector not in logging.root.handlers:
            for handler in logging.root.handlers:
                handler.addFilter(_as_before)
            logging.root.addHandler(_collector)
            PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
        _lower("", levels.root)
        for name, level in levels.named.items():
            if name.split(".")[0] not in _OF_THE_HOST:
                _lower(name, level)
        if levels.capture_warnings:
            logging.captureWarnings(True)


def _lower(name: str, level: int) -> None:
    logger = logging.getLogger(name) if name else logging.root
    is_new = name not in _levels_before
    _levels_before.setdefault(name, logger.level)
    # The first crawl's levels are taken as they are; those of others may only show more.
    logger.setLevel(level if is_new else min(level, logger.level))


def _was_wanted(record: logging.LogRecord) -> bool:
    """Whether the record's logger would have made it before any guest came."""
    name = record.name if record.name != "root" else ""
    while name:
        logger = logging.root.manager.loggerDict.get(name)
        of_logger = logger.level if isinstance(logger, logging.Logger) else 0
        if level := _levels_before.get(name, of_logger):
            return record.levelno >= level
        name = name.rpartition(".")[0]
    return record.levelno >= _levels_before.get("", logging.root.level)
