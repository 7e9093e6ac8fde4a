"""Remembers what has happened of late, for whoever shows it. Pure: times are passed in."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from scrapy_mpworkers.pool.task import Task

#: Incidents and slow tasks that are kept.
INCIDENTS, SLOWEST = 50, 10
#: Seconds below which no task is called slow.
SLOW_SECONDS = 0.01


class Incident(NamedTuple):
    """Something that happened to a worker.

    Attributes:
        at: when, ``time.monotonic()``.
        kind: ``death``, ``redelivery``, ``dead_letter``, ``recycled`` or ``broken``.
        worker: its name; empty if it happened to all, or to a task that had none.
        text: one sentence.
        label: names the item, call or callback that it was at.
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


class Recent:
    """The last incidents and the slowest tasks of one crawl.

    Args:
        labels: names its tasks.

    Attributes:
        slow_from: seconds that a task must have taken to be kept.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self.incidents: deque[Incident] = deque(maxlen=INCIDENTS)
        self.slowest: list[SlowTask] = []  #: a heap
        self.slow_from = SLOW_SECONDS

    def note(self, now: float, kind: str, worker: str, text: str, task: Task | None = None) -> None:
        """Remember an incident of a worker, and which task it was at."""
        label = "" if task is None else self._labels.label(task)
        self.incidents.append(Incident(now, kind, worker, text, label))

    def slow(
        self, now: float, worker: str, tasks: Sequence[Task | None], times: Sequence[float]
    ) -> None:
        """Remember those tasks of a report that are among the slowest."""
        for task, seconds in zip(tasks, times, strict=True):
            if task is None or seconds < self.slow_from:
                continue
            kept = SlowTask(seconds, now, task.id, task.hop, worker, self._labels.label(task))
            if len(self.slowest) < SLOWEST:
                heapq.heappush(self.slowest, kept)
            else:
                heapq.heapreplace(self.slowest, kept)
                self.slow_from = max(SLOW_SECONDS, self.slowest[0].seconds)
