"""Counts the callbacks that are under way, each of which has a page with it."""

from __future__ import annotations

#: Callbacks for each worker at which Scrapy waits with downloads: one is worked on, one is there
#: already, and two are on their way. (3,000 pages at 2 workers: 16 in all are no faster.)
_OF_A_WORKER = 4


class CallbackLoad:
    """Counts the callbacks of one level, which never wait for room because their items may need it.

    Args:
        workers: of the level.
        max_bytes: of the pages, at which Scrapy waits as well.

    Attributes:
        count: how many are under way.
        is_full: no page should come before some of them have ended.
    """

    def __init__(self, workers: int, max_bytes: int) -> None:
        self.count = 0
        self.is_full = False
        self._bytes = 0
        self._max_count = _OF_A_WORKER * max(workers, 1)
        self._max_bytes = max_bytes

    def is_full_with(self, pages: int) -> bool:
        """Return whether it is full if each of so many *pages* has a callback for it."""
        return self.is_full or self.count + pages >= self._max_count

    def enter(self, size: int) -> None:
        self._change(1, size)

    def leave(self, size: int) -> None:
        self._change(-1, -size)

    def _change(self, count: int, size: int) -> None:
        self.count += count
        self._bytes += size
        self.is_full = self.count >= self._max_count or self._bytes >= self._max_bytes
