"""The logs of a worker process of Dask: records that worker threads log are the crawl's, and all
others go where they went before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from twisted.python.log import PythonLoggingObserver

from scrapy_mpworkers.backends.dask.worker_thread import collector_of_thread
from scrapy_mpworkers.wire.crawl import LogLevels
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.worker import consumer
from scrapy_mpworkers.worker.record_collector import RecordCollector

#: Loggers whose levels are not the crawl's to set.
_OF_DASK = ("distributed", "dask", "tornado", "bokeh")


def describe(error: BaseException) -> bytes:
    """Pickle why a consumer could not be built, opened or closed."""
    if type(error) is ModuleNotFoundError:
        text = f"{error}; MPWORKERS_DASK_UPLOAD sends the project's packages to the cluster"
        error = ModuleNotFoundError(text, name=error.name).with_traceback(error.__traceback__)
    return consumer.describe(error)


def build(payload: bytes, definitions: Sequence[Definition]) -> consumer.CrawlConsumer:
    """Build a consumer in a thread of somebody else's process."""
    return consumer.build(payload, definitions, log_for_crawl)


class _ByThread(logging.Handler):
    """Gives the records of worker threads to their collectors. Records of Dask's threads go where
    they went before."""

    def emit(self, record: logging.LogRecord) -> None:
        collector = collector_of_thread()
        if collector is not None:
            if collector.has_crawl:
                collector.emit(record)
        elif logging.root.handlers == [self] and _was_wanted(record):
            # As if there were no handler at all.
            last = logging.lastResort
            if last is not None and record.levelno >= last.level:
                last.handle(record)


_by_thread = _ByThread()
_levels_before: dict[str, int] = {}  # of the loggers whose level was changed; "": the root's
_changing = threading.Lock()


def log_for_crawl(levels: LogLevels) -> RecordCollector:
    """Let loggers make the records that the crawl wants, and return this thread's collector, which
    alone sees them."""
    collector = collector_of_thread()
    assert collector is not None
    collector.set_levels(levels)
    with _changing:
        if _by_thread not in logging.root.handlers:
            for handler in logging.root.handlers:
                handler.addFilter(_as_before)
            logging.root.addHandler(_by_thread)
            PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]
        _lower("", levels.root)
        for name, level in levels.named.items():
            if name.split(".")[0] not in _OF_DASK:
                _lower(name, level)
        if levels.capture_warnings:
            logging.captureWarnings(True)
    return collector


def _as_before(record: logging.LogRecord) -> bool:
    """Keep from Dask's handlers what worker threads log, and records that exist only because a
    crawl has lowered a level."""
    return collector_of_thread() is None and _was_wanted(record)


def _lower(name: str, level: int) -> None:
    logger = logging.getLogger(name) if name else logging.root
    is_new = name not in _levels_before
    _levels_before.setdefault(name, logger.level)
    # The first crawl's levels are taken as they are; those of others may only show more.
    logger.setLevel(level if is_new else min(level, logger.level))


def _was_wanted(record: logging.LogRecord) -> bool:
    """Return whether the record's logger would have made it before any crawl came."""
    name = record.name if record.name != "root" else ""
    while name:
        logger = logging.root.manager.loggerDict.get(name)
        of_logger = logger.level if isinstance(logger, logging.Logger) else 0
        if level := _levels_before.get(name, of_logger):
            return record.levelno >= level
        name = name.rpartition(".")[0]
    return record.levelno >= _levels_before.get("", logging.root.level)
