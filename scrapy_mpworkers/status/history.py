"""The history of a crawl: a sample of its workers each second, in bounded memory.

Old samples are merged with their neighbours, so that the whole crawl always fits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.status.snapshot import Event, LevelSnapshot, Snapshot, WorkerSnapshot
from scrapy_mpworkers.status.timeline import Lane, Track

#: How many points there may be: more than 5 minutes stay as they were sampled.
_POINTS = 800
#: Segments of all workers together, and at most of one. (64 workers: 0.3 MB of JSON.)
_SEGMENTS, _OF_A_WORKER = 6_000, 400
_MARKS = 500
#: Seconds between two looks at the clock, and how many of them make a sample.
_BEAT, _BEATS = 0.2, 5


@dataclass(slots=True)
class LevelPoint:
    """A level in a span of time. ``busy``: workers, on average; ``wait``, ``service``: 95 % of all
    tasks took no longer."""

    settled: int
    pending: int
    max_pending: int
    busy: float
    workers: int
    memory: int
    wait: float
    service: float

    def absorb(self, later: LevelPoint, share: float) -> None:
        """Add what came *later*, in that *share* of the time of both."""
        self.busy += (later.busy - self.busy) * share
        self.settled += later.settled
        self.pending = max(self.pending, later.pending)
        self.memory = max(self.memory, later.memory)
        self.max_pending, self.workers = later.max_pending, later.workers
        self.wait, self.service = later.wait, later.service


@dataclass(slots=True)
class Point:
    """All levels in a span of time, by their names; and how late the loop's thread was at worst."""

    start: float
    end: float
    lag: float
    levels: dict[str, LevelPoint]

    def absorb(self, later: Point) -> None:
        share = (later.end - later.start) / (later.end - self.start)
        self.end, self.lag = later.end, max(self.lag, later.lag)
        for name, level in later.levels.items():
            if name in self.levels:
                self.levels[name].absorb(level, share)
            else:
                self.levels[name] = level


class History:
    """Records what a page or a report draws of a crawl."""

    def __init__(self) -> None:
        self._points: Track[Point] = Track(_POINTS)
        self._lanes: dict[str, Lane] = {}
        self._marks: deque[Event] = deque(maxlen=_MARKS)
        self._settled: dict[str, int] = {}
        self._now = self._started_at = 0.0
        self._spider = ""

    def record(self, loop: Loop, look: Callable[[], Snapshot]) -> None:
        """Take a sample each second from now on, and measure how late the loop's thread is."""
        self._beat(loop, look, monotonic(), [])

    def _beat(
        self, loop: Loop, look: Callable[[], Snapshot], due: float, delays: list[float]
    ) -> None:
        now = monotonic()
        delays.append(max(0.0, now - due))
        if len(delays) >= _BEATS:
            self.add(look(), max(delays))
            delays.clear()
        loop.call_later(_BEAT, partial(self._beat, loop, look, now + _BEAT, delays))

    def add(self, snapshot: Snapshot, lag: float = 0.0) -> None:
        """Add what happened since the sample before, and how late the loop's thread was."""
        start, self._now = self._now, snapshot.elapsed
        if self._now <= start or snapshot.state == "stopped":
            return  # no worker is there any more, and what has been is drawn up to here
        self._spider, self._started_at = snapshot.spider, snapshot.taken_at - snapshot.elapsed
        levels = {level.name: self._point(level, start) for level in snapshot.levels}
        self._points.append(Point(start, self._now, lag, levels))
        last = self._marks[-1].elapsed if self._marks else -1.0
        self._marks.extend(event for event in snapshot.events if event.elapsed > last)

    def _lane(self, level: LevelSnapshot, worker: WorkerSnapshot) -> Lane:
        slot = worker.name.partition(".")[0]
        if slot not in self._lanes:
            limit = max(40, min(_OF_A_WORKER, _SEGMENTS // len(level.workers)))
            self._lanes[slot] = Lane(level.name, limit)
        return self._lanes[slot]

    def _point(self, level: LevelSnapshot, start: float) -> LevelPoint:
        busy = [self._lane(level, worker).add(worker, start, self._now) for worker in level.workers]
        before = self._settled.get(level.name, 0)
        settled = self._settled[level.name] = _settled(level)
        return LevelPoint(
            settled=settled - before,
            pending=level.pending,
            max_pending=level.max_pending,
            busy=sum(busy) / (self._now - start),
            workers=len(level.workers),
            memory=sum(one.pss_bytes or one.rss_bytes or 0 for one in level.workers),
            wait=level.wait.p95 if level.wait else 0.0,
            service=level.service.p95 if level.service else 0.0,
        )

    def as_dict(self, last: float = inf) -> dict[str, Any]:
        """Return the history as JSON has it: a list for each figure, in the order of ``times``.

        Args:
            last: leave out what ended more than so many seconds before the last sample. Whoever has
                what was so far replaces the part behind ``since``, and in each lane what begins
                with its first segment or later.
        """
        since = round(self._now - last, 2)
        points = self._points.spans
        points = points[bisect_right(points, since, key=lambda point: round(point.end, 2)) :]
        return {
            "spider": self._spider,
            "started_at": self._started_at,
            "since": max(0.0, since),
            "times": [round(point.end, 2) for point in points],
            "lag": [round(point.lag, 4) for point in points],
            "levels": [_columns(name, points) for name in self._settled],
            "workers": [lane.as_dict(slot, since) for slot, lane in self._lanes.items()],
            "marks": [
                {"at": event.elapsed, "kind": event.kind, "worker": event.worker}
                | {"text": event.text, "label": event.label}
                for event in self._marks
                if event.elapsed > since
            ],
        }


def _settled(level: LevelSnapshot) -> int:
    counted = filter(None, (level.items, level.calls, level.callbacks))
    return sum(one.done + one.dropped + one.failed + one.dead_lettered for one in counted)


_NOTHING = LevelPoint(0, 0, 0, 0.0, 0, 0, 0.0, 0.0)


def _columns(name: str, points: list[Point]) -> dict[str, Any]:
    levels = [point.levels.get(name, _NOTHING) for point in points]
    return {
        "name": name,
        "settled": [level.settled for level in levels],
        "pending": [level.pending for level in levels],
        "max_pending": [level.max_pending for level in levels],
        "busy": [round(level.busy, 2) for level in levels],
        "workers": [level.workers for level in levels],
        "memory": [level.memory for level in levels],
        "wait": [round(level.wait, 6) for level in levels],
        "service": [round(level.service, 6) for level in levels],
    }
