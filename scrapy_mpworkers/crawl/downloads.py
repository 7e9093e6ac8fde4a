"""Knows which pages are on their way to the spider, and how long a download takes."""

from __future__ import annotations

from collections import deque
from itertools import islice
from time import monotonic
from typing import Any

#: Seconds that a download takes, as long as none has ended.
_SOME_TIME = 1.0
#: A download is late if it takes so many times as long as the others, and as many seconds.
_LATE, _NEVER_LATE = 3.0, 0.2


class Downloads(set[Any]):
    """Holds the downloads that are under way: those of pipelines, too, and each step of a redirect.

    One that is late counts no more among the pages to come: a server that does not answer must not
    keep other pages out until Scrapy gives it up, which takes minutes.

    Args:
        callback_delay: seconds from the end of a download to its callback.

    Attributes:
        ended: how many downloads have ended.
        seconds: how long one takes.
    """

    def __init__(self, callback_delay: float = 0.0) -> None:
        super().__init__()
        self.ended, self.seconds = 0, _SOME_TIME
        self.callback_delay = callback_delay
        self._last_ends: deque[float] = deque()  # within callback_delay
        self._begun: dict[object, float] = {}  # when; the oldest comes first
        self._sum_of_begun = 0.0
        self._taken = 0.0  # seconds of those that have ended
        self._taken_in_time = 0.0  # without what they took when they were late
        self._late_after = _SOME_TIME

    @property
    def taken(self) -> float:
        """Return the seconds that all downloads have taken together."""
        return self._taken + len(self) * monotonic() - self._sum_of_begun

    def count_to_come(self) -> int:
        """Return how many pages are on their way to a callback."""
        now = monotonic()
        while self._last_ends and self._last_ends[0] <= now - self.callback_delay:
            self._last_ends.popleft()
        return len(self) - len(self._late(now)) + len(self._last_ends)

    def seconds_until_fewer(self) -> float:
        """Return after how many seconds fewer are to come, though no download ends."""
        now = monotonic()
        first = next(islice(self._begun.values(), len(self._late(now)), None), None)
        ends = [first + self._late_after] if first is not None else []
        ends += [end + self.callback_delay for end in islice(self._last_ends, 1)]
        return max(0.0, min(ends, default=now + _SOME_TIME) - now)

    def add(self, request: object) -> None:
        now = monotonic()
        self._begun[request] = now
        self._sum_of_begun += now
        set.add(self, request)

    def remove(self, request: object) -> None:
        now, begun = monotonic(), self._begun.pop(request)
        set.remove(self, request)
        self._sum_of_begun -= begun
        self._taken += now - begun
        self._taken_in_time += min(now - begun, self._late_after)
        self.ended += 1
        self._late_after = max(_NEVER_LATE, _LATE * self._taken_in_time / self.ended)
        if self.callback_delay:
            self._last_ends.append(now)
        # Those under way have taken time as well: the first to end does not account for all of it.
        late = self._late(now)
        in_time = len(self) - len(late)
        taken = self._taken + in_time * now - (self._sum_of_begun - sum(late))
        self.seconds = taken / (self.ended + in_time)

    def _late(self, now: float) -> list[float]:
        """Return when those began that are late."""
        late = []
        for begun in self._begun.values():
            if now - begun <= self._late_after:
                break
            late.append(begun)
        return late
