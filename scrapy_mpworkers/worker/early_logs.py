"""Keeps what is logged in a worker, or its fork server, before a crawl's own collector is there.

This module knows nothing of Scrapy.
"""

from __future__ import annotations

import logging


class EarlyRecords(logging.Handler):
    """Keeps log records until somebody takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record. Called with the handler's lock held, from any thread."""
        self._records.append(record)

    def take(self) -> list[logging.LogRecord]:
        taken, self._records = self._records, []
        return taken


#: Of this process.
early = EarlyRecords()


def begin() -> None:
    """Keep every record from now on.

    With a handler on the root, ``logging.basicConfig`` in a settings module does nothing: the log
    file that it would open, and perhaps empty, is that of Scrapy's process.
    """
    if early not in logging.root.handlers:
        logging.root.addHandler(early)
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
    early.take()
    begin()
    # As Scrapy does when it configures logging; what this crawl wants is known later.
    logging.captureWarnings(True)


def end() -> list[logging.LogRecord]:
    """Keep no more, and return what was kept."""
    logging.root.removeHandler(early)
    return early.take()
