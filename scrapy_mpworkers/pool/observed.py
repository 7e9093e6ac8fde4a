"""Counts what becomes of the tasks of one crawl, and shows what the workers are at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from time import monotonic

from scrapy_mpworkers.pool.interface import Executor, PoolEvents, WorkerView
from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.pool.recent import Recent
from scrapy_mpworkers.pool.task import Future, Task
from scrapy_mpworkers.pool.workers import WorkerGroup, WorkerHandle
from scrapy_mpworkers.wire.messages import OpenFailed


class ObservedExecutor(Executor):
    """Shows what the workers of one crawl are at, and counts what their group tells it.

    Args:
        slots: workers that the pool has room for.
        events: told of each task.
    """

    def __init__(self, slots: int, events: PoolEvents) -> None:
        self.metrics = Metrics(workers=[WorkerTime() for _ in range(slots)])
        self.recent = Recent(events)
        self._events = events
        self._joined: WorkerGroup | None = None

    @abstractmethod
    def leases(self, handle: WorkerHandle) -> Iterator[Task]:
        """Iterate over the unsettled tasks of this crawl that a worker has."""

    @abstractmethod
    def task(self, handle: WorkerHandle, task_id: int | None) -> Task | None:
        """Return the unsettled task of this crawl that a worker has under a number."""

    @property
    def _handles(self) -> list[WorkerHandle]:
        return [] if self._joined is None else list(self._joined.handles)

    def look(self) -> list[WorkerView]:
        return list(map(self._view, self._handles))

    def _view(self, handle: WorkerHandle) -> WorkerView:
        task_id, since = handle.running()
        return WorkerView(
            handle.name,
            handle.pid,
            handle.phase,
            self.task(handle, task_id),
            since,
            handle.settled,
            self.metrics.workers[handle.slot].busy,
            handle.generation,
        )

    def overdue(self) -> list[tuple[Task, str, float]]:
        now = monotonic()
        return [
            (task, handle.name, now - task.leased_at)
            for handle in self._handles
            for task in self.leases(handle)
        ]

    def stacks(self, timeout: float) -> Future:
        assert self._joined is not None, "it has not been started"
        return self._joined.stacks(timeout)

    def _unfinished(self, handle: WorkerHandle) -> Task | None:
        """Count the time of a task that a worker is at and will not finish, and return the task."""
        task_id, since = handle.running()
        now, task = monotonic(), self.task(handle, task_id)
        if task is not None:
            self.metrics.workers[handle.slot].busy += now - since
            self.recent.slow(now, handle.name, [task], [now - since])
        return task

    # What the workers' group has seen

    def died(self, handle: WorkerHandle, exit_label: str, in_words: str) -> None:
        """Count the death of a worker, and the time that it was at a task of this crawl."""
        self.metrics.deaths[exit_label] += 1
        task = self._unfinished(handle)
        self.recent.note(monotonic(), "death", handle.name, in_words, task)

    def recycled(self, handle: WorkerHandle, why: str) -> None:
        """Count a worker that has served its time."""
        self.metrics.recycled[why] += 1
        text = f"recycled after {handle.settled} items ({why})"
        self.recent.note(monotonic(), "recycled", handle.name, text)

    def open_failed(self, handle: WorkerHandle, report: OpenFailed) -> None:
        """Tell that a worker could not open the crawl's consumers."""
        self._events.boot_failed(handle.name, report.failure)

    def not_ready(self, slot: int) -> None:
        """Note that no worker of a slot is ready for this crawl any more."""
        self.metrics.workers[slot].not_ready(monotonic())
