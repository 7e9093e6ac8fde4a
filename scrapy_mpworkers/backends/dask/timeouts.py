"""Limits of time on a cluster.

A worker process itself tells of a task that takes too long, and is killed. Code in C that never
lets another thread run keeps it from telling. So when a message is there for longer than one task
may take, the worker is pinged, and has as long again for the answer: a worker that lets nobody
speak for the time of a task is at one that takes too long.
"""

from __future__ import annotations

import logging
from time import monotonic

from scrapy_mpworkers.backends.dask.worker_handle import DaskHandle, HandleState
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.timeouts import end_overdue
from scrapy_mpworkers.pool.worker_handle import KilledFor

logger = logging.getLogger(__name__)

#: Seconds that the network and a busy machine may add.
_MARGIN = 2.0


class RemoteLimit:
    """Pings a worker whose oldest message takes longer than one task may."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watched: set[DaskHandle] = set()

    def watch(self, handle: DaskHandle) -> None:
        """Watch a worker that has got work, until it has none any more."""
        if handle not in self._watched:
            self._watched.add(handle)
            self._look_in(handle, self._allowed(handle))

    def forget(self, handle: DaskHandle) -> None:
        """Do not watch a worker any more."""
        self._watched.discard(handle)

    def overdue(self, handle: DaskHandle, task_id: int) -> None:
        """Kill a worker that says that this task takes too long."""
        task = handle.task(task_id)
        if task is not None and not handle.is_killed:
            end_overdue(handle, task)

    def _look_in(self, handle: DaskHandle, seconds: float) -> None:
        self._loop.call_later(seconds, lambda: self._look(handle))

    def _look(self, handle: DaskHandle) -> None:
        self._watched.discard(handle)
        head = handle.oldest_message()
        if handle.state is HandleState.GONE or handle.is_killed or not head:
            return
        self._watched.add(handle)
        left = handle.head_since + self._allowed(handle) - monotonic()
        if left > 0 or not all(task.limit for task in head):
            self._look_in(handle, max(left, _MARGIN))
        else:
            handle.ping(self._allowed(handle))

    def pinged(self, handle: DaskHandle, hears: bool) -> None:
        """Kill a worker that has not answered in time."""
        head = handle.oldest_message()
        if handle.is_killed or not head:
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
            handle.kill_for(KilledFor.STUCK)

    def _allowed(self, handle: DaskHandle) -> float:
        # Seconds for the longest task of the oldest message.
        return max((task.limit for task in handle.oldest_message()), default=0.0) + _MARGIN
