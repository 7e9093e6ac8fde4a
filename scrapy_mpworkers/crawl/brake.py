"""Keeps Scrapy from downloading more pages than the workers of a crawl have time for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from time import monotonic
from typing import Any

from scrapy_mpworkers.crawl.patches import ScraperWakeup
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.eventloop import EventLoop

#: Seconds that a download takes, as long as none has ended.
_SOME_TIME = 1.0
#: A download is late if it takes so many times as long as the others, and as many seconds.
_LATE, _NEVER_LATE = 3.0, 0.2
#: Each new download lowers the weight of earlier ones to this share, so about five count. If all
#: counted alike, pages without items would come one by one for long behind pages with many.
_KEPT = 0.8
#: A level that was full stays so until it has room for so many items more than one, at most for
#: this share of those that may be pending: pages that are downloaded together share turns of the
#: loop. (Pages of 20 KB whose items take 8 ms: 7.6 turns a page instead of 10.2, and 0.91 of the
#: CPU of Scrapy's process; no less with 8.)
_AT_ONCE, _SHARE = 4, 1 / 8
#: Turns of the loop from the end of a download until its callback has been called and its results
#: are read: Scrapy (2.18 on) lets two go by first.
_TURNS = 4


class Arrivals:
    """Counts pages whose download has ended, and whose callback cannot have begun.

    A coroutine on a reactor without asyncio begins at once. So a download that waits for nothing (a
    file, a page from the HTTP cache) ends before Scrapy asks whether to begin the next one, and all
    requests that there are would become pages in one turn of the loop.
    """

    def __init__(self, loop: EventLoop) -> None:
        self.count = 0
        self._loop = loop
        self._of_turns = deque([0] * _TURNS, maxlen=_TURNS)

    def add(self) -> None:
        if not self.count:
            self._loop.call_soon(self._end_turn)
        self.count += 1
        self._of_turns[-1] += 1

    def _end_turn(self) -> None:
        self.count -= self._of_turns[0]
        self._of_turns.append(0)  # in the place of the first
        if self.count:
            self._loop.call_soon(self._end_turn)


class Downloads(set[Any]):
    """Holds the downloads that are under way: those of pipelines, too, and each step of a redirect.

    One that is late counts no more among the pages to come: a server that does not answer must not
    keep other pages out until Scrapy gives it up, which takes minutes.

    Args:
        callback_delay: seconds from the end of a download to its callback.
        arrivals: counts pages from the end of their download on, if they have to be counted.

    Attributes:
        ended: how many downloads have ended.
        seconds: how long one takes.
    """

    def __init__(self, callback_delay: float = 0.0, arrivals: Arrivals | None = None) -> None:
        super().__init__()
        self._arrivals = arrivals
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
        return len(self) - len(self._late(now)) + len(self._last_ends) + self.arriving

    @property
    def arriving(self) -> int:
        """Return how many of those have ended, and are known to none of the levels yet."""
        return 0 if self._arrivals is None else self._arrivals.count

    def seconds_until_fewer(self) -> float:
        """Return after how many seconds fewer are to come, though no download ends."""
        if self.arriving:
            return 0.0
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
        elif self._arrivals is not None:
            self._arrivals.add()
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


class Brake:
    """Tells Scrapy when to wait with further downloads.

    Inline, the blocked reactor keeps Scrapy from taking in more pages than the pipelines can work
    on; all that has been taken in has to be worked on before the spider closes. With workers, a
    level is full when its items, and those that the pages under way will bring, reach its bound.
    The bound is raised by the items that the workers do while a page is downloaded: a download that
    begins only when the workers have almost nothing left comes too late. A level that was full has
    room again only when some items more have left.

    Args:
        callback_delay: seconds from the end of a download to its callback.
        loop, wakeup: to have Scrapy look again when fewer pages are to come though nothing has
            ended, which it would do at its next heartbeat only.
    """

    def __init__(
        self, levels: Sequence[Level], callback_delay: float, loop: EventLoop, wakeup: ScraperWakeup
    ) -> None:
        arrivals = Arrivals(loop) if loop.is_eager else None
        self.downloads = Downloads(callback_delay, arrivals)  #: for Scrapy's downloader to keep
        self._loop = loop
        self._wakeup = wakeup
        self._looks_again = False
        self._harvests = [(level, _Harvest()) for level in levels]

    def is_on(
        self,
        scrapy_waits: Callable[[], bool],
        queue: Collection[object],
        active: Collection[object],
    ) -> bool:
        """Return whether to wait.

        Args:
            scrapy_waits: returns whether Scrapy has a reason of its own.
            queue, active: pages that Scrapy has, and that are not done.
        """
        downloads = self.downloads
        done = downloads.ended - len(queue) - len(active)
        to_come = downloads.count_to_come()
        is_full = False
        for level, harvest in self._harvests:
            if done > harvest.downloads:
                harvest.learn(done, level)
            level_is_full = self._is_full(level, to_come * harvest.of_each)
            if level_is_full and level.settings.batch_size and not to_come:
                # No item comes to fill a batch: those inside would wait until their time is up.
                level.executor.flush()
            if level_is_full or level.backpressure.is_full:
                level.backpressure.brake(level_is_full)
            is_full = is_full or level_is_full
        if is_full and to_come and not self._looks_again:
            self._looks_again = True
            self._loop.call_later(downloads.seconds_until_fewer(), self._look_again)
        return is_full or scrapy_waits()

    def _look_again(self) -> None:
        self._looks_again = False
        self._wakeup.look()

    def _is_full(self, level: Level, to_come: float) -> bool:
        door = level.backpressure
        if door.bytes >= door.max_bytes or level.callbacks.is_full_with(self.downloads.arriving):
            return True
        items = door.count + len(door.waiting) - door.guests + to_come
        lead = self.downloads.seconds + self.downloads.callback_delay
        most = int(door.max_count + door.per_second * lead)
        if door.is_full:
            most -= min(_AT_ONCE, int(door.max_count * _SHARE))
        # Items of start() take each room as soon as there is any; a page is not to wait for the
        # last of them.
        return 0 < items >= most + door.guests


class _Harvest:
    """Knows how many items a download brings to a level, from the last ones.

    Attributes:
        downloads: how many downloads it has learned from.
        of_each: items that each brings.
    """

    def __init__(self) -> None:
        self.downloads, self.of_each = 0, 1.0
        self._items = 0
        self._last_downloads = self._last_items = 0.0  # recent ones weigh more

    def learn(self, done: int, level: Level) -> None:
        """Learn from the downloads since the last call; so many are *done* by now."""
        counts = level.executor.metrics.items
        # A page is done when its items are settled; but where nobody waits for that, when all of
        # them have come in.
        items = sum(counts.settled) if level.waits else counts.submitted
        new_items = max(0, items - level.backpressure.of_start - self._items)
        new = done - self.downloads
        kept = _KEPT**new
        self._last_downloads = kept * self._last_downloads + new
        self._last_items = kept * self._last_items + new_items
        self.of_each = self._last_items / self._last_downloads
        self.downloads += new
        self._items += new_items
