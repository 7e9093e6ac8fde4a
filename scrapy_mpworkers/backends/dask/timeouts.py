"""Limits of time on a cluster.

A worker process itself tells of a task that takes too long, and is killed. Code in C that never
lets another thread run keeps it from telling. So when a message is there for longer than one task
may take, the worker is pinged, and has as long again for the answer: a worker that lets nobody
speak for the time of a task is at one that takes too long.
"""

from __future__ import annotations

import logging
from time import monotonic

from scrapy_mpworkers.backends.dask.worker_handle import DaskHandle
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import Loop, WorkerHandle
from scrapy_mpworkers.pool.task_queue import Task
from scrapy_mpworkers.pool.timeouts import end_overdue

logger = logging.getLogger(__name__)

#: Seconds that the network and a busy machine may add.
_MARGIN = 2.0


class RemoteLimit:
    """Pings a worker whose oldest message takes longer than one task may.

    Args:
        executor: whose tasks they are.
    """

    def __init__(self, executor: PoolExecutor, loop: Loop) -> None:
        self._executor = executor
        self._loop = loop
        self._watched: set[DaskHandle] = set()

    def of(self, handle: WorkerHandle, task_ids: list[int]) -> dict[int, float]:
        """Return the limits of those tasks that have one."""
        if not self._executor.has_limits:
            return {}
        entries = [self._executor.task(handle, task_id) for task_id in task_ids]
        return {entry.id: entry.limit for entry in entries if entry is not None and entry.limit}

    def watch(self, handle: DaskHandle) -> None:
        """Watch a worker that has got work, until it has none any more."""
        if self._executor.has_limits and handle not in self._watched:
            self._watched.add(handle)
            self._look_in(handle, self._allowed(handle))

    def forget(self, handle: DaskHandle) -> None:
        """Do not watch a worker any more."""
        self._watched.discard(handle)

    def overdue(self, handle: DaskHandle, task_id: int) -> None:
        """Kill a worker that says that this task takes too long."""
        entry = self._executor.task(handle, task_id)
        if entry is not None and not handle.killed:
            end_overdue(handle, entry)

    def _look_in(self, handle: DaskHandle, seconds: float) -> None:
        self._loop.call_later(seconds, lambda: self._look(handle))

    def _look(self, handle: DaskHandle) -> None:
        self._watched.discard(handle)
        head = self._head(handle)
        if handle.is_gone or handle.killed or not head:
            return
        self._watched.add(handle)
        left = handle.head_since + self._allowed(handle) - monotonic()
        if left > 0 or not all(entry.limit for entry in head):
            self._look_in(handle, max(left, _MARGIN))
        else:
            handle.ping(self._allowed(handle))

    def pinged(self, handle: DaskHandle, hears: bool) -> None:
        """Kill a worker that has not answered in time."""
        head = self._head(handle)
        if handle.killed or not head:
            self._watched.discard(handle)
        elif hears:
            self._look_in(handle, self._allowed(handle))
        elif len(head) == 1:
            self.overdue(handle, head[0].id)
        else:
            logger.warning(
                "One of %d items takes longer than MPWORKERS_ITEM_TIMEOUT; their worker %s is "
                "killed, and they run again one by one",
                len(head),
                handle.title,
            )
            handle.is_silent = True
            handle.kill_for_good()

    def _allowed(self, handle: DaskHandle) -> float:
        """Seconds for the longest task of the oldest message."""
        return max((entry.limit for entry in self._head(handle)), default=0.0) + _MARGIN

    def _head(self, handle: DaskHandle) -> list[Task]:
        """The unsettled tasks of the oldest message."""
        leases = list(self._executor.leases(handle))
        return [entry for entry in leases if entry.message is leases[0].message]
