"""What a worker must know of the crawl to give pipelines the crawler that they expect."""

from __future__ import annotations

from typing import Any, NamedTuple

from scrapy_mpworkers.placement import Placement


class LogLevels(NamedTuple):
    """The parent's logging, so that records nobody wants never cross.

    ``wanted`` is the lowest level that any of the parent's handlers takes.
    """

    wanted: int
    root: int
    named: dict[str, int]
    capture_warnings: bool


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
