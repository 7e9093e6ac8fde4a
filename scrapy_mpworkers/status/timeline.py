"""The timeline of a worker's slot: what it was at, in bounded memory. Pure: times are passed in."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

from scrapy_mpworkers.status.snapshot import WorkerSnapshot

#: Busy shares that differ by less look the same.
_ALIKE = 0.15
_AT_WORK = ("idle", "busy")


class Span(Protocol):
    """A span of time, in seconds since the workers were first started, and what was in it."""

    start: float
    end: float

    def absorb(self, later: Any) -> None:
        """Become the span of both."""


_S = TypeVar("_S", bound=Span)


class Track(Generic[_S]):
    """Spans in the order of time. When there are too many, old neighbours become one.

    Args:
        limit: how many there may be; the last half of them stay as they are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._step = 1.0  # seconds that a span may get by merging
        self.spans: list[_S] = []

    def append(self, span: _S) -> None:
        self.spans.append(span)
        if len(self.spans) > self._limit:
            while len(self.spans) > self._limit * 3 // 4:
                self._merge()

    def _merge(self) -> None:
        old, recent = self.spans[: -self._limit // 2], self.spans[-self._limit // 2 :]
        merged = old[:1]
        for span in old[1:]:
            if span.end - merged[-1].start <= self._step:
                merged[-1].absorb(span)
            else:
                merged.append(span)
        self.spans = merged + recent
        if len(self.spans) > self._limit * 3 // 4:
            self._step *= 2


@dataclass(slots=True)
class Segment:
    """A worker in a span of time.

    Attributes:
        task: the one that it was at throughout; 0: none, or one after the other.
        busy: seconds.
        label, seconds: of the task that had been running for longest when it was seen.
    """

    start: float
    end: float
    state: str
    task: int
    busy: float
    settled: int
    label: str
    seconds: float

    def looks_like(self, later: Segment) -> bool:
        if self.task or later.task:
            return self.task == later.task
        shares = self.busy / (self.end - self.start), later.busy / (later.end - later.start)
        both_work = self.state in _AT_WORK and later.state in _AT_WORK
        return (both_work or self.state == later.state) and abs(shares[0] - shares[1]) <= _ALIKE

    def absorb(self, later: Segment) -> None:
        if later.busy > self.busy:
            self.state = later.state
        self.end, self.busy = later.end, self.busy + later.busy
        self.settled += later.settled
        if later.seconds >= self.seconds:
            self.label, self.seconds = later.label, later.seconds

    def end_at(self, moment: float) -> None:
        """Leave what comes after *moment* to the task that has been running since then."""
        self.busy = max(0.0, self.busy - (self.end - moment))
        self.end = moment


class Lane:
    """The workers of one slot, one after the other."""

    def __init__(self, level: str, limit: int) -> None:
        self.level = level
        self.restarts = self._all_settled = 0
        self._track: Track[Segment] = Track(limit)
        self._name, self._settled, self._busy = "", 0, 0.0

    @property
    def segments(self) -> list[Segment]:
        return self._track.spans

    def add(self, worker: WorkerSnapshot, start: float, end: float) -> float:
        """Add what a worker was at in a span of time, and return for how much of it, in seconds."""
        segment = self._segment(worker, start, end)
        busy = min(end - start, segment.busy)
        while self.segments and self.segments[-1].start >= segment.start:
            segment.settled += self.segments.pop().settled
        last = self.segments[-1] if self.segments else None
        if last is not None and last.end > segment.start:
            last.end_at(segment.start)
        if last is not None and last.looks_like(segment):
            last.absorb(segment)
        else:
            self._track.append(segment)
        return busy

    def _segment(self, worker: WorkerSnapshot, start: float, end: float) -> Segment:
        """Return a segment, which is longer than the sample if its task is."""
        settled = max(0, worker.settled - (self._settled if worker.name == self._name else 0))
        self._all_settled += settled
        busy = min(end - start, max(0.0, worker.busy_seconds - self._busy))
        self._name, self._settled, self._busy = worker.name, worker.settled, worker.busy_seconds
        self.restarts = worker.restarts
        task, number, label, seconds = worker.task, 0, "", 0.0
        if task is not None:
            label, seconds = task.label, task.seconds
            if seconds >= end - start:
                number = task.id
                is_new = not self.segments or self.segments[-1].task != number
                start = max(0.0, end - seconds) if is_new else start
                busy = end - start
        return Segment(start, end, worker.state, number, busy, settled, label, seconds)

    def as_dict(self, slot: str, since: float) -> dict[str, Any]:
        """Return the lane of a slot as JSON has it.

        Args:
            since: leave out segments that ended before, but for the last of them: it may have been
                longer until what came next was seen.
        """
        first = max(0, bisect_right(self.segments, since, key=attrgetter("end")) - 1)
        segments = [
            [round(one.start, 2), round(one.end, 2), one.state, round(one.busy, 2), one.settled]
            + [one.label, round(one.seconds, 3)]
            for one in self.segments[first:]
        ]
        settled, restarts = self._all_settled, self.restarts
        told = {"name": slot, "level": self.level, "settled": settled, "restarts": restarts}
        return told | {"segments": segments}
