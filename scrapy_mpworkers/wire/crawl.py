"""The state of a crawl that a worker needs to give pipelines the crawler that they expect."""

from __future__ import annotations

import sys
from logging import Logger, LogRecord, root
from typing import Any, NamedTuple


class Placement(NamedTuple):
    """A placement says where pipelines run.

    ``workers``: of the level, 0: in Scrapy's process; ``keyed``: whether equal keys meet the same
    worker; ``batches``: whether items come many at a time; ``waits``: whether the crawl waits.
    """

    workers: int
    keyed: bool = False
    batches: bool = False
    waits: bool = True

    @property
    def divides(self) -> bool:
        """Return whether items that belong together may meet different workers."""
        return self.workers > 1 and not self.keyed


class LogLevels(NamedTuple):
    """The log levels of the parent, by which records that nobody wants never cross.

    ``wanted``: by the name of a logger that has handlers (``""``: the root), the lowest level that
    any of these takes; ``root``, ``named``: the levels of the loggers themselves; ``parts``: what
    handlers and filters each logger has, in words; ``apart``: loggers that do not propagate;
    ``enabled``: all that are not disabled; ``streams``: by ``"stdout"`` or ``"stderr"``, the logger
    and the level at which what is printed there is logged (``LOG_STDOUT``).
    """

    wanted: dict[str, int]
    root: int
    named: dict[str, int]
    capture_warnings: bool
    parts: dict[str, frozenset[str]] = {}
    apart: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    streams: dict[str, tuple[str, int]] = {}

    def want(self, record: LogRecord) -> bool:
        """Return whether a handler of the record's logger, or of one above it, takes it."""
        name = record.name
        while name:
            if record.levelno >= self.wanted.get(name, sys.maxsize):
                return True
            name = name.rpartition(".")[0]
        return record.levelno >= self.wanted[""]


def known_loggers() -> dict[str, Logger]:
    """Return the loggers of this process by name (``""``: the root)."""
    found = list(root.manager.loggerDict.items())
    return {"": root, **{name: one for name, one in found if isinstance(one, Logger)}}


def part_in_words(part: Any) -> str:
    """Say what a handler or filter of a logger is, so that two processes find the same one."""
    named = part if hasattr(part, "__qualname__") else type(part)  # a filter may be a function
    return f"{named.__module__}.{named.__qualname__} {getattr(part, 'baseFilename', '')}"


class Carried(NamedTuple):
    """A value in a ``frame`` of its own, or the reason ``why`` it stays in Scrapy's process."""

    frame: bytes | None
    why: str = ""


class ClassState(NamedTuple):
    """A class, as far as it can cross.

    ``whole``: the class itself; where that cannot cross, a worker makes one of that name, module
    and qualified name from its ``bases``, with those of its ``own`` attributes that can. ``token``:
    what stands for the class in their frames.
    """

    whole: Carried
    token: str
    name: str
    module: str
    qualname: str
    own: dict[str, Carried] = {}
    bases: tuple[ClassState, ...] = ()


class SpiderState(NamedTuple):
    """The spider: its class, and its attributes by their names."""

    cls: ClassState
    attributes: dict[str, Carried]


class HopState(NamedTuple):
    """The entries of a hop, and the keys that hops behind it want of the item, each in a frame.

    ``goes_on``: whether there are hops behind it on its route.
    """

    entries: tuple[bytes, ...]
    keys: tuple[bytes, ...]
    goes_on: bool


class CrawlState(NamedTuple):
    """The payload of an OpenCrawl.

    ``level``: its name; ``batches``: whether its items run together; ``hops``: its own, by number,
    in order; ``settings`` is name → (value, priority); ``placement``: if this worker is to look
    for pipelines that are wrong there. Each part that pipelines may not need is carried by itself,
    so that none of them keeps the crawl from starting.
    """

    level: str
    batches: bool
    hops: dict[int, HopState]
    settings: dict[str, tuple[Carried, int]]
    spider: SpiderState
    stats: dict[str, Carried]
    log_levels: LogLevels
    placement: Placement | None = None
