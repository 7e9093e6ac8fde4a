"""What a worker must know of the crawl to give pipelines the crawler that they expect."""

from __future__ import annotations

import sys
from logging import LogRecord
from typing import Any, NamedTuple

from scrapy_mpworkers.placement import Placement


class LogLevels(NamedTuple):
    """The parent's logging, so that records nobody wants never cross.

    ``wanted``: by the name of a logger that has handlers (``""``: the root), the lowest level that
    any of these takes; ``root``, ``named``: the levels of the loggers themselves.
    """

    wanted: dict[str, int]
    root: int
    named: dict[str, int]
    capture_warnings: bool

    def want(self, record: LogRecord) -> bool:
        """Whether a handler of the record's logger, or of one above it, takes it."""
        name = record.name
        while name:
            if record.levelno >= self.wanted.get(name, sys.maxsize):
                return True
            name = name.rpartition(".")[0]
        return record.levelno >= self.wanted[""]


class SpiderState(NamedTuple):
    """The spider: its class, its attributes each in a frame, and the names of those that stay."""

    cls: type
    attributes: dict[str, bytes]
    unpicklable: dict[str, str]


class HopState(NamedTuple):
    """The entries of a hop, and the keys that hops behind it want of the item."""

    entries: tuple[Any, ...]
    keys: tuple[Any, ...]


class CrawlState(NamedTuple):
    """The payload of a Setup.

    ``level``: its name; ``batches``: whether its items run together; ``hops``: its own, by number,
    in order; ``settings`` is name → (value, priority); ``placement``: if this worker is to look
    for pipelines that are wrong there.
    """

    level: str
    batches: bool
    hops: dict[int, HopState]
    settings: dict[str, tuple[Any, int]]
    spider: SpiderState
    stats: dict[str, Any]
    log_levels: LogLevels
    placement: Placement | None = None
