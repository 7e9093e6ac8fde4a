"""Keeps Scrapy from downloading more pages than the workers of a crawl have time for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

from scrapy import signals
from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.pool import Level

#: Seconds that a download takes, as long as none has ended.
_SOME_TIME = 1.0
#: Each new page lowers the weight of earlier ones to this share, so about five pages count. If all
#: counted alike, pages without items would come one by one for long behind pages with many.
_KEPT = 0.8


class Brake:
    """Tells Scrapy when to wait with further downloads.

    Inline, the blocked reactor keeps Scrapy from taking in more pages than the pipelines can work
    on; all that has been taken in has to be worked on before the spider closes. With workers, a
    level is full when its items, and those that the pages under way will bring, reach its bound.
    The bound is raised by the items that the workers do while a page is downloaded: a download that
    begins only when the workers have almost nothing left comes too late.
    """

    def __init__(self, crawler: Crawler, levels: Sequence[Level]) -> None:
        self._harvests = [(level, _Harvest()) for level in levels]
        self._looked_at = monotonic()
        self._under_way = 0
        self._seconds = 0.0  # that all downloads have taken so far
        self._seconds_of_a_page = _SOME_TIME
        self._pages = 0
        # Not the crawl's stats: they may be switched off.
        crawler.signals.connect(self._received, signals.response_received)

    def is_on(
        self,
        scrapy_waits: Callable[[], bool],
        downloads: Collection[object],
        *scraped: Collection[object],
    ) -> bool:
        """Return whether to wait.

        Args:
            scrapy_waits: returns whether Scrapy has a reason of its own.
            downloads: that are under way.
            scraped: pages that Scrapy has, and that are not done.
        """
        self._take_time()
        self._under_way = len(downloads)
        done = self._pages - sum(map(len, scraped))
        is_full = False
        for level, harvest in self._harvests:
            to_come = self._under_way * harvest.of_a_page(done, level)
            level_is_full = self._is_full(level, to_come)
            if level_is_full and level.settings.batch_size and not downloads:
                # No item comes to fill a batch: those inside would wait until their time is up.
                level.executor.flush()
            if level_is_full != level.backpressure.has_braked:
                level.backpressure.brake(level_is_full)
            is_full = is_full or level_is_full
        return is_full or scrapy_waits()

    def _is_full(self, level: Level, to_come: float) -> bool:
        door = level.backpressure
        if door.bytes >= door.max_bytes:
            return True
        items = door.count + len(door.waiting) - door.guests + to_come
        most = int(door.max_count + door.per_second * self._seconds_of_a_page)
        # Items of start() take each room as soon as there is any; a page is not to wait for the
        # last of them.
        return 0 < items >= most + door.guests

    def _take_time(self) -> None:
        """Add the seconds since the last look, once for each download under way."""
        now = monotonic()
        self._seconds += self._under_way * (now - self._looked_at)
        self._looked_at = now

    def _received(self, **_: Any) -> None:
        self._take_time()
        self._under_way = max(0, self._under_way - 1)
        self._pages += 1
        # The others have taken their time as well: the first page does not account for all of it.
        self._seconds_of_a_page = self._seconds / (self._pages + self._under_way)


class _Harvest:
    """Knows how many items a page brings to a level, by the last ones."""

    def __init__(self) -> None:
        self._pages = self._items = 0.0
        self._pages_so_far = self._items_so_far = 0

    def of_a_page(self, pages: int, level: Level) -> float:
        """Return the items of a page, when so many are done."""
        new_pages = pages - self._pages_so_far
        if new_pages > 0:
            counts = level.executor.metrics.items
            # A page is done when its items are settled; but where nobody waits for that, when all
            # of them have come in.
            items = sum(counts.settled) if level.waits else counts.submitted
            new_items = max(0, items - level.backpressure.of_start - self._items_so_far)
            kept = _KEPT**new_pages
            self._pages = kept * self._pages + new_pages
            self._items = kept * self._items + new_items
            self._pages_so_far += new_pages
            self._items_so_far += new_items
        return self._items / self._pages if self._pages else 1.0
