"""Keeps Scrapy from downloading more pages than the workers of a crawl have time for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.pool import Level

#: Seconds that a download takes, as long as none has ended.
_SOME_TIME = 1.0


class Brake:
    """Tells Scrapy when to wait with further downloads.

    Inline, the blocked reactor keeps Scrapy from taking in more pages than the pipelines can work
    on; all that has been taken in has to be worked on before the spider closes. Here, a level has
    what it may have for two reasons: its items are as many as may be pending, or they will be when
    the pages come that are under way. These may be as many more as the workers do in the meantime.

    """

    def __init__(self, crawler: Crawler, levels: Sequence[Level]) -> None:
        self._crawler = crawler
        self._levels = levels
        self._asked_at = monotonic()
        self._under_way = 0
        self._seconds = 0.0  # that all downloads have taken so far

    def is_on(self, scrapy_waits: Callable[[], bool], downloads: Collection[object]) -> bool:
        """Return whether to wait.

        Args:
            scrapy_waits: returns whether Scrapy has a reason of its own.
            downloads: that are under way.
        """
        now, before = monotonic(), self._under_way
        self._under_way = len(downloads)
        # As many seconds as there were downloads pass in each second.
        self._seconds += before * (now - self._asked_at)
        self._asked_at = now
        assert self._crawler.stats is not None
        pages = self._crawler.stats.get_value("response_received_count", 0)
        is_full = False
        for level in self._levels:
            door, pending = level.backpressure, level.backpressure.count
            items = level.executor.metrics.items.submitted
            to_come = self._under_way * (items / pages if pages else 1.0)
            meanwhile = door.per_second * (self._seconds / pages if pages else _SOME_TIME)
            level_is_full = (
                pending >= door.max_count
                or door.bytes >= door.max_bytes
                or (to_come > 0 and pending + to_come >= door.max_count + meanwhile)
            )
            if level_is_full != door.has_braked:
                door.brake(level_is_full)
            is_full = is_full or level_is_full
        return is_full or scrapy_waits()
