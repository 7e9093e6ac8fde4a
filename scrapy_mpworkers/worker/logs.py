"""Collects the log records of a crawl until the report of their item leaves."""

from __future__ import annotations

import logging
import sys
from logging.handlers import BufferingHandler

from scrapy.utils.log import StreamLogger
from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.wire.crawl import LogLevels, known_loggers, part_in_words
from scrapy_mpworkers.wire.effects import WireRecord, pack_record
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.ending import flush
from scrapy_mpworkers.worker.record_collector import RecordCollector, collector

_OURS = __name__.partition(".")[0]


class Records:
    """Keeps the log records of one crawl, in their wire form, until they are taken."""

    def __init__(
        self, codec: WorkerCodec, source: RecordCollector, levels: LogLevels | None = None
    ) -> None:
        self._codec = codec
        self._source = source
        self._levels = levels
        self.waiting: list[WireRecord] = []

    def collect(self) -> None:
        """Take the records that are logged from now on, and those that no crawl has taken yet."""
        self._source.collect_for(self._add)

    def log_like_parent_again(self) -> None:
        """Undo what the user's code has done to logging in a process of ours, if the parent has the
        same: a module that the spider and pipelines import sets it up in both processes."""
        if self._source is collector and self._levels is not None:
            log_like_parent(self._levels)

    def _add(self, record: logging.LogRecord) -> None:
        self.waiting.append(pack_record(record, self._codec.dump))


def log_like_parent(levels: LogLevels) -> RecordCollector:
    """Make this process log at the parent's levels into the collector, which is returned.

    The parent's own handlers and filters get the records. What only this process has stays here.
    """
    if not collector.has_crawl:
        PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
    logging.root.addHandler(collector)  # the user's code may have removed it
    for name, logger in known_loggers().items():
        _leave_to_parent(logger, levels.parts.get(name, frozenset()))
        logger.propagate = logger.propagate or name in levels.apart
        if name in levels.enabled or name.startswith(_OURS):
            logger.disabled = False  # dictConfig disables all loggers that are there
    logging.root.setLevel(levels.root)
    for name, level in levels.named.items():
        logging.getLogger(name).setLevel(level)
    collector.set_levels(levels)
    logging.captureWarnings(levels.capture_warnings)
    for stream, (name, level) in levels.streams.items():
        _log_what_is_printed(stream, StreamLogger(logging.getLogger(name), level))
    return collector


def _log_what_is_printed(name: str, stream: StreamLogger) -> None:
    before = getattr(sys, name)
    # One of the user's own, by whatever pipelines import, stays.
    if before is getattr(sys, f"__{name}__"):
        flush([before])
        setattr(sys, name, stream)


def _leave_to_parent(logger: logging.Logger, parts: frozenset[str]) -> None:
    """Remove the handlers and filters of which the parent has *parts* in words."""
    for handler in [one for one in logger.handlers if part_in_words(one) in parts]:
        if handler is collector:
            continue
        logger.removeHandler(handler)
        if isinstance(handler, BufferingHandler):
            handler.buffer.clear()  # or it would be written when this process ends
    for one in [one for one in logger.filters if part_in_words(one) in parts]:
        logger.removeFilter(one)
