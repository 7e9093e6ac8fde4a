"""Collects what is logged in a worker, or its fork server, from the very beginning.

This module knows nothing of Scrapy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from scrapy_mpworkers.wire.crawl import LogLevels


class RecordCollector(logging.Handler):
    """Keeps log records until there is a crawl, and then gives it those that it wants."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[logging.LogRecord] = []
        self._levels: LogLevels | None = None
        self._give: Callable[[logging.LogRecord], None] | None = None

    @property
    def has_crawl(self) -> bool:
        """Return whether a crawl gets what is logged."""
        return self._give is not None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record. Called with the handler's lock held, from any thread."""
        if self._give is None or self._levels is None:
            self._kept.append(record)
            return
        try:
            if self._levels.want(record):
                self._give(record)
        except Exception:
            self.handleError(record)

    def forget(self) -> None:
        """Drop the records so far."""
        self._kept.clear()

    def set_levels(self, levels: LogLevels) -> None:
        """From now on give the crawl the records that it wants at these levels."""
        self._levels = levels

    def collect_for(self, give: Callable[[logging.LogRecord], None]) -> None:
        """Give a crawl the records from now on, and those that were kept while there was none."""
        self._give = give
        kept, self._kept = self._kept, []
        for record in kept:
            if logging.getLogger(record.name).isEnabledFor(record.levelno):
                record.at_import = f"{record.pathname}:{record.lineno} {record.getMessage()}"
                self.handle(record)


#: The collector of this process.
collector = RecordCollector()


def begin() -> None:
    """Keep every record from now on.

    With a handler on the root, ``logging.basicConfig`` in a settings module does nothing: the log
    file that it would open, and perhaps empty, is that of Scrapy's process.
    """
    if collector not in logging.root.handlers:
        logging.root.addHandler(collector)
    # As in Scrapy's process, where the handlers decide. The crawl's levels come with its state.
    logging.root.setLevel(logging.NOTSET)


def begin_again() -> None:
    """Drop the handlers, filters and records that this process has so far, and begin.

    Scrapy's process has its own: there, and once, records of workers are filtered and handled.
    """
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in [logging.root, *known]:
        logger.handlers.clear()
        logger.filters.clear()
        logger.propagate = True
    collector.forget()
    begin()
    # As Scrapy does when it configures logging; what this crawl wants is known later.
    logging.captureWarnings(True)
