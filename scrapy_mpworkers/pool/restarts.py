"""Decides when to stop replacing workers, and how long to wait before the next start.

Pure: the time is passed in.

Erlang's restart intensity (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity),
with two differences. Only fruitless deaths count, and any progress forgives them. And deaths under
a task count by task, from the second task on: one poison task, which every crawl may have, says
nothing of the next one, and how often it may kill is bounded elsewhere.
"""

from __future__ import annotations

from collections import deque

from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.wire.messages import TaskStatus

#: What to do about workers that die.
SEE_IT = (
    "Look for the first error of a worker in the log, or run in one process to see it: "
    "-s MPWORKERS_WORKERS=0"
)
#: Seconds of the first pause after a start that failed, and of the longest one.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: Items given up in a row that are no accident, and how many there must be for each that was done.
_IN_A_ROW, _OF_ONE_DONE = 6, 10
#: Starts that fail in a row before a pool without any worker may give up. One failure, or two, may
#: be an accident of the moment, however long they took.
_STARTS = 4
#: Seconds that a pool which has never had a worker goes on trying: nothing will change then.
_NEVER_STARTED = 1.0


class RestartIntensity:
    """Allows *intensity* fruitless deaths in *period* seconds.

    Deaths under one task count as one, and those under the first such task do not count.
    """

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity, self.period = intensity, period
        self._recent: deque[tuple[float, int | None]] = deque()  # deaths: time and task
        self._reports = 0  # how many there were at the last death

    @property
    def deaths(self) -> int:
        """Fruitless deaths in the last period, without progress since."""
        return len(self._recent)

    @property
    def culprits(self) -> int:
        """Tasks to which these deaths are charged."""
        return len({task for _, task in self._recent} - {None})

    @property
    def history(self) -> str:
        """The fruitless deaths in words."""
        tasks = ""
        if self.culprits == 1:
            tasks = ", some of them while they ran one and the same item"
        elif self.culprits:
            tasks = f", while they ran {self.culprits} different items"
        within = f"within {self.period:g} s before they settled anything"
        return f"{self.deaths} workers died {within}{tasks}"

    def allows(self, now: float, task: int | None = None, reports: int = 0) -> bool:
        """Return whether to start another worker after one died before it settled anything.

        Args:
            task: that it was running, if any.
            reports: how many have settled tasks so far. Each new one forgives all deaths.
        """
        if reports > self._reports:
            self._reports = reports
            self._recent.clear()
        self._recent.append((now, task))
        while self._recent[0][0] < now - self.period:
            self._recent.popleft()
        uncharged = sum(task is None for _, task in self._recent)
        return uncharged + max(0, self.culprits - 1) <= self.intensity


class DeadlyPipelines:
    """Decides that it is the pipelines that kill workers, and not a few items.

    That is so if items are given up in a row, with more deaths than a pool may have, and nearly no
    task has had any other end. However slowly it goes: a start may take longer than the work.
    """

    def __init__(self, intensity: int) -> None:
        self._intensity = intensity
        self._items = self._deaths = self._done = 0

    @property
    def history(self) -> str:
        """The items in a row and the deaths under them in words."""
        return (
            f"{self._items} items in a row killed {self._deaths} workers and were given up, with "
            "no other done in between; so it is not a few items, but the pipelines"
        )

    def are_certain(self, deaths: int, metrics: Metrics) -> bool:
        """Note an item that was given up, and return whether to go on is of no use.

        Args:
            deaths: how many workers it has killed.
            metrics: those of its crawl.
        """
        given_up = [one.settled[TaskStatus.DEAD_LETTERED] for one in metrics.hops.values()]
        done = metrics.tasks_settled - sum(given_up)
        if done > self._done:
            self._items = self._deaths = 0
        self._done = done
        self._items += 1
        self._deaths += deaths
        is_too_much = self._items >= _IN_A_ROW and self._deaths > self._intensity
        return is_too_much and done * _OF_ONE_DONE <= self._items


class FailedStarts:
    """Decides how long to wait after a start that failed, and when there is no hope left.

    A pause is as long as starts have been failing, within bounds, however many slots are empty.

    Args:
        period: seconds that a pool goes on trying when it has lost its last worker.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._since: float | None = None  # the first of those that have failed in a row
        self._count = 0
        self._had_worker = False

    @property
    def is_first(self) -> bool:
        """Return whether only the last start has failed."""
        return self._count == 1

    def succeeded(self) -> bool:
        """Note that a worker has been started, and return whether the last start had failed."""
        failed_before = self._count > 0
        self._since, self._count, self._had_worker = None, 0, True
        return failed_before

    def pause(self, now: float, has_worker: bool, is_hopeless: bool) -> float | None:
        """Return the seconds to wait after a start that has failed at *now*, ``None`` to give up.

        Args:
            has_worker: whether another worker lives. Then the pool goes on with that one.
            is_hopeless: whether the next start will certainly fail as well.
        """
        if self._since is None:
            self._since = now
        self._count += 1
        failing = now - self._since
        patience = self._period if self._had_worker else _NEVER_STARTED
        is_over = is_hopeless or (self._count >= _STARTS and failing >= patience)
        if is_over and not has_worker:
            return None
        return LONGEST_PAUSE if is_hopeless else min(max(failing, SHORTEST_PAUSE), LONGEST_PAUSE)
