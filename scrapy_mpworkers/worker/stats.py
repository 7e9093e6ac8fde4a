"""The stats collector that a pipeline sees in a worker."""

from __future__ import annotations

from typing import Any

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.wire.effects import StatChange


class WorkerStats(StatsCollector):
    """Reads a snapshot of the crawl's stats plus own changes.

    Args:
        changes: where they are kept for the report. Not here: each look at an attribute of a
            collector takes more than a microsecond (Scrapy 2.19 wraps its methods on the way).
    """

    def __init__(self, crawler: Any, snapshot: dict[str, Any], changes: list[StatChange]) -> None:
        super().__init__(crawler)
        self._stats.update(snapshot)
        self._changes = changes

    def set_value(self, key: str, value: Any, spider: Any = None) -> None:
        super().set_value(key, value)
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
        self._changes.append(StatChange("set_stats", (dict(stats),)))

    def clear_stats(self, spider: Any = None) -> None:
        super().clear_stats()
        self._changes.append(StatChange("clear_stats", ()))

    def close_spider(self, spider: Any = None, reason: str | None = None) -> None:
        """Nothing: the crawl's own collector dumps and persists."""
