"""Keeps the stats that pipelines see in a worker, and what they change of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import currentframe
from typing import Any, NoReturn

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.wire.effects import StatChange
from scrapy_mpworkers.worker.arrivals import refuse

logger = logging.getLogger(__name__)

#: Keys to warn of. Keys that are made for each item would fill the log.
_MOST_WARNINGS = 10
#: Modules through which a call passes on its way here.
_ON_THE_WAY = frozenset({__name__, "scrapy.statscollectors", "scrapy.utils.decorators"})
_NOT_OF_USERS = ("scrapy.", f"{__name__.partition('.')[0]}.")


class WorkerStats(StatsCollector):
    """Reads the crawl's stats as they were when the worker was told of them, plus own changes.

    Args:
        changes: where they are kept for the report. Not here: each look at an attribute of a
            collector takes more than a microsecond (Scrapy 2.19 wraps its methods on the way).
    """

    def __init__(self, crawler: Any, snapshot: dict[str, Any], changes: list[StatChange]) -> None:
        super().__init__(crawler)
        self._stats.update(snapshot)
        self._changes = changes
        self._own: set[str] = set()  # set here, so what is read here is what was meant
        self._warned: set[str] | None = None  # not while what the crawl has told is the present

    def __getattr__(self, name: str) -> NoReturn:
        refuse(
            f"stats.{name}",
            "STATS_CLASS has it in Scrapy's process, and here are the methods of Scrapy's own "
            "collectors",
            "Call inc_value, max_value, min_value or set_value, which count in the crawl",
        )

    def go_stale(self) -> None:
        """Warn from now on of what is read and cannot be known here."""
        self._warned = set()

    def renew(self, stats: dict[str, Any]) -> None:
        """Take over the crawl's present stats, and keep the changes that it has not been told."""
        self._warned = None
        self._stats.clear()
        self._stats.update(stats)
        for change in list(self._changes):
            getattr(StatsCollector, change.method)(self, *change.args)

    def get_value(self, key: str, default: Any = None, spider: Any = None) -> Any:
        value = self._stats.get(key)
        if self._warned is not None and (value is None or isinstance(value, (int, float))):
            self._warn(key, f"The stat {key!r} was")
        return super().get_value(key, default)

    def get_stats(self, spider: Any = None) -> dict[str, Any]:
        if self._warned is not None:
            self._warn("", "The stats (get_stats) were")
        return super().get_stats()

    def set_value(self, key: str, value: Any, spider: Any = None) -> None:
        super().set_value(key, value)
        self._own.add(key)
        self._changes.append(StatChange("set_value", (key, value)))

    def inc_value(self, key: str, count: int = 1, start: int = 0, spider: Any = None) -> None:
        super().inc_value(key, count, start)
        self._changes.append(StatChange("inc_value", (key, count, start)))

    def max_value(self, key: str, value: Any, spider: Any = None) -> None:
        super().max_value(key, value)
        self._changes.append(StatChange("max_value", (key, value)))

    def min_value(self, key: str, value: Any, spider: Any = None) -> None:
        super().min_value(key, value)
        self._changes.append(StatChange("min_value", (key, value)))

    def set_stats(self, stats: dict[str, Any], spider: Any = None) -> None:
        super().set_stats(stats)
        self._own.update(stats)
        self._changes.append(StatChange("set_stats", (dict(stats),)))

    def clear_stats(self, spider: Any = None) -> None:
        super().clear_stats()
        self._changes.append(StatChange("clear_stats", ()))

    def close_spider(self, spider: Any = None, reason: str | None = None) -> None:
        """Leave it to the crawl's own collector to dump and persist."""

    def mark(self) -> Callable[[], None]:
        """Return a function that forgets what pipelines do to the stats from now on."""
        changes, values = len(self._changes), dict(self._stats)

        def rewind() -> None:
            del self._changes[changes:]
            self._stats.clear()
            self._stats.update(values)

        return rewind

    def _warn(self, key: str, what: str) -> None:
        """Say once that a number read here is not the crawl's."""
        warned = self._warned
        if warned is None or key in warned or key in self._own or len(warned) == _MOST_WARNINGS:
            return
        if not _is_read_by_user():
            return
        warned.add(key)
        logger.warning(
            "%s read in a worker, which has the crawl's numbers of when it started and what it "
            "has counted itself, not what the crawl and other workers have counted since. Do not "
            "read and set: inc_value, max_value and min_value count in the crawl. When the crawl "
            "ends, close_spider reads the crawl's numbers. To read them before, keep that pipeline "
            "in ITEM_PIPELINES, that callback out of MPWORKERS_CALLBACKS.",
            what,
        )


def _is_read_by_user() -> bool:
    """Return whether the stats are read in a line that is neither Scrapy's nor ours."""
    frame = currentframe()
    while frame is not None and frame.f_globals.get("__name__") in _ON_THE_WAY:
        frame = frame.f_back
    module = "" if frame is None else str(frame.f_globals.get("__name__"))
    return not module.startswith(_NOT_OF_USERS)
