"""Remembers what has happened of late, for whoever shows it. Pure: times are passed in."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from scrapy_mpworkers.pool.task_queue import Task

#: Incidents and slow tasks that are kept.
INCIDENTS, SLOWEST = 50, 10
_SPAN = 60  # seconds that a rate is kept for


class Incident(NamedTuple):
    """Something that happened to a worker.

    Attributes:
        at: when, ``time.monotonic()``.
        kind: ``death``, ``redelivery``, ``dead_letter``, ``recycled`` or ``broken``.
        worker: its name; empty if it happened to all, or to a task that had none.
        text: one sentence.
        label: names the item or call that it was at.
    """

    at: float
    kind: str
    worker: str
    text: str
    label: str = ""


class SlowTask(NamedTuple):
    """One of the tasks that took longest, and when it was reported (``time.monotonic()``)."""

    seconds: float
    at: float
    task_id: int
    hop: int
    worker: str
    label: str


class Labels(Protocol):
    """Names the tasks of a crawl for those who read of them."""

    def label(self, task: Task) -> str: ...


class Rate:
    """Counts what is settled in each second of the last minute."""

    def __init__(self, now: float) -> None:
        self._since = self._second = int(now)
        self._counts = [0] * (_SPAN + 1)

    def add(self, now: float, count: int) -> None:
        if int(now) != self._second:
            self._go_on(int(now))
        self._counts[self._second % len(self._counts)] += count

    def per_second(self, now: float) -> float:
        """Return the count of the last whole second."""
        self._go_on(int(now))
        return self._counts[(self._second - 1) % len(self._counts)]

    def per_minute(self, now: float) -> float:
        """Return the count of the last minute; of a shorter time, what a minute would have."""
        self._go_on(int(now))
        seconds = min(_SPAN, max(1.0, now - self._since))
        return sum(self._counts) * _SPAN / seconds

    def _go_on(self, second: int) -> None:
        slots = len(self._counts)
        for passed in range(max(self._second, second - slots) + 1, second + 1):
            self._counts[passed % slots] = 0
        self._second = max(second, self._second)


class Recent:
    """The last incidents, the slowest tasks, and the rate of one crawl's tasks.

    Args:
        labels: names its tasks.
        now: ``time.monotonic()``.
    """

    def __init__(self, labels: Labels, now: float) -> None:
        self._labels = labels
        self.rate = Rate(now)
        self.incidents: deque[Incident] = deque(maxlen=INCIDENTS)
        self.slowest: list[SlowTask] = []  #: a heap

    def note(self, now: float, kind: str, worker: str, text: str, task: Task | None = None) -> None:
        """Remember an incident of a worker, and which task it was at."""
        label = "" if task is None else self._labels.label(task)
        self.incidents.append(Incident(now, kind, worker, text, label))

    def settled(
        self, now: float, worker: str, tasks: Sequence[Task | None], times: Sequence[float]
    ) -> None:
        """Count the tasks of a report, and remember those that took longest."""
        self.rate.add(now, len(tasks))
        if len(self.slowest) == SLOWEST and max(times) <= self.slowest[0].seconds:
            return
        for task, seconds in zip(tasks, times, strict=True):
            if task is None or (
                len(self.slowest) == SLOWEST and seconds <= self.slowest[0].seconds
            ):
                continue
            slow = SlowTask(seconds, now, task.id, task.hop, worker, self._labels.label(task))
            if len(self.slowest) < SLOWEST:
                heapq.heappush(self.slowest, slow)
            else:
                heapq.heapreplace(self.slowest, slow)
