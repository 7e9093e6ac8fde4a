"""Stats that are brought up to date when somebody reads them.

Written for Scrapy 2.15 to 2.19, whose collectors keep stats in a dict. Some extensions read that
dict (PeriodicLog), others ask the collector (the telnet console). Guarded: where stats are kept in
another way, they are as old as the last progress line.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from functools import wraps
from time import monotonic
from typing import Any

from scrapy.statscollectors import StatsCollector

logger = logging.getLogger(__name__)

#: Seconds that stats stay fresh; bringing them up to date takes 0.1 ms and more.
_FRESH = 0.1


class FreshStats(dict[str, Any]):
    """Brings the stats under a prefix up to date when they are read.

    Writing costs nothing, and whoever reads gets a view of a copy, to which nothing is added.

    Args:
        stats: those that there are.
        refresh: sets the stats of the prefix anew.
    """

    def __init__(self, stats: dict[str, Any], prefix: str, refresh: Callable[[], None]) -> None:
        super().__init__(stats)
        self._prefix = prefix
        self._refresh: Callable[[], None] | None = refresh
        self._thread = threading.get_ident()
        self._fresh_until = 0.0

    def refresh(self) -> None:
        """Bring the stats up to date, unless they are."""
        # The metrics belong to the crawl's thread, but an exporter may read in another one.
        if self._refresh is None or threading.get_ident() != self._thread:
            return
        now = monotonic()
        if now < self._fresh_until:
            return
        self._fresh_until = now + _FRESH  # first: a collector may read when it is written to
        try:
            self._refresh()
        except Exception:
            logger.debug("The stats could not be brought up to date", exc_info=True)

    def end(self) -> None:
        """Leave the stats as they are from now on."""
        self._refresh = None

    def _concerns(self, key: object) -> bool:
        return isinstance(key, str) and key.startswith(self._prefix)

    def get(self, key: str, default: Any = None) -> Any:
        if self._concerns(key):
            self.refresh()
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        if self._concerns(key):
            self.refresh()
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return self.copy().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return self.copy().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return self.copy().items()

    def copy(self) -> dict[str, Any]:
        self.refresh()
        return dict(super().items())  # dict.copy() asks for keys(), which asks for a copy

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)


def keep_fresh(
    collector: StatsCollector, prefix: str, refresh: Callable[[], None]
) -> FreshStats | None:
    """Have the stats that begin with *prefix* brought up to date when they are read.

    Returns:
        the stats, to be ended when they are final; ``None`` if this collector keeps none in a dict.
    """
    if type(getattr(collector, "_stats", None)) is not dict:
        logger.debug("Stats are not kept in a dict: they are as old as the last progress line")
        return None
    stats = collector._stats = FreshStats(collector._stats, prefix, refresh)
    get_stats = collector.get_stats

    @wraps(get_stats)
    def get_fresh_stats(*args: Any, **kwargs: Any) -> Any:
        stats.refresh()  # what is printed as it is, is read without any of our methods
        return get_stats(*args, **kwargs)

    collector.get_stats = get_fresh_stats  # type: ignore[method-assign]
    # Scrapy 2.18 and later keep a wrapper of each method that was called.
    vars(collector).pop("_cached_get_stats", None)
    return stats
