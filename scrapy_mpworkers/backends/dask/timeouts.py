"""Limits of time on a cluster.

The seat itself tells of a task that takes too long, and its worker process is killed. Code in C
that never lets another thread run keeps the seat from telling. So when a message is there for
longer than one task may take, the worker is asked whether it hears, and has as long again for the
answer: a worker that lets nobody speak for the time of a task is at one that takes too long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic

from scrapy_mpworkers.backends.dask.worker_handle import DaskLane
from scrapy_mpworkers.pool.interface import AnyLane
from scrapy_mpworkers.pool.task_queue import Entry
from scrapy_mpworkers.pool.timeouts import end_overdue

logger = logging.getLogger(__name__)

#: Seconds that the network and a busy machine may add.
_MARGIN = 2.0


class RemoteLimit:
    """Asks a lane whose oldest message takes longer than one task may.

    Args:
        leases: the unsettled entries that a lane holds.
        entry: one of them, by the id of its task.
        call_later: calls a function in the crawl's thread after some seconds.
    """

    def __init__(
        self,
        leases: Callable[[AnyLane], Iterator[Entry]],
        entry: Callable[[AnyLane, int], Entry | None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._leases = leases
        self._entry = entry
        self._call_later = call_later
        self._watched: set[DaskLane] = set()
        self.is_used = False  #: whether any task has had a limit

    def of(self, lane: AnyLane, task_ids: list[int]) -> dict[int, float]:
        """The limits of tasks, those that have one."""
        if not self.is_used:
            return {}
        entries = [self._entry(lane, task_id) for task_id in task_ids]
        return {entry.id: entry.limit for entry in entries if entry is not None and entry.limit}

    def watch(self, lane: DaskLane) -> None:
        """The lane has got work. It is watched until it has none any more."""
        if self.is_used and lane not in self._watched:
            self._watched.add(lane)
            self._look_in(lane, self._allowed(lane))

    def overdue(self, lane: DaskLane, task_id: int) -> None:
        """The seat says that this task takes too long."""
        entry = self._entry(lane, task_id)
        if entry is not None and not lane.killed:
            end_overdue(lane, entry)

    def _look_in(self, lane: DaskLane, seconds: float) -> None:
        self._call_later(seconds, lambda: self._look(lane))

    def _look(self, lane: DaskLane) -> None:
        self._watched.discard(lane)
        head = self._head(lane)
        if lane.is_gone or lane.killed or not head:
            return
        self._watched.add(lane)
        left = lane.head_since + self._allowed(lane) - monotonic()
        if left > 0 or not all(entry.limit for entry in head):
            self._look_in(lane, max(left, _MARGIN))
        else:
            lane.ask(self._allowed(lane), lambda hears: self._answered(lane, hears))

    def _answered(self, lane: DaskLane, hears: bool) -> None:
        head = self._head(lane)
        if lane.is_gone or lane.killed or not head:
            self._watched.discard(lane)
        elif hears:
            self._look_in(lane, self._allowed(lane))
        elif len(head) == 1:
            self.overdue(lane, head[0].id)
        else:
            logger.warning(
                "One of %d items takes longer than MPWORKERS_ITEM_TIMEOUT; their worker %s is "
                "killed, and they run again one by one",
                len(head),
                lane.title,
            )
            lane.is_silent = True
            lane.kill_for_good()

    def _allowed(self, lane: DaskLane) -> float:
        """Seconds for the longest task of the oldest message."""
        return max((entry.limit for entry in self._head(lane)), default=0.0) + _MARGIN

    def _head(self, lane: DaskLane) -> list[Entry]:
        """The unsettled tasks of the oldest message."""
        leases = list(self._leases(lane))
        return [entry for entry in leases if entry.message is leases[0].message]
