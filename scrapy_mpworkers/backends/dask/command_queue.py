"""A command that a worker thread runs: the thread adds what comes of it, and the loop of Dask's
worker takes that and sends it back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from time import monotonic

from scrapy_mpworkers.wire.frames import encode_report
from scrapy_mpworkers.wire.messages import Answer, Outcome, Outcomes, Report

#: Seconds after which what is ready of a batch goes back without the rest.
PATIENCE = 1.0


class PendingCommand:
    """A command with its reports so far. It is made in the loop of Dask's worker.

    Args:
        number: by which it can be asked for.
        command: encoded.
        limits: seconds that its tasks may take, by their ids; those without may take any time.
    """

    def __init__(self, number: int, command: bytes, limits: Mapping[int, float]) -> None:
        self.number = number
        self.command = command
        self.is_over = False
        self.is_lost = False  #: its thread has ended before it was done
        self._running: tuple[int, float] | None = None  # a task, and when it began, monotonic()
        self._limits = limits
        self._crawl = 0
        self._reports: deque[Report] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._is_late = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # In the worker thread

    def begin(self, task_id: int) -> None:
        """Note that a task begins."""
        self._running = task_id, monotonic()

    def add(self, crawl: int, outcome: Outcome, is_last: bool = False) -> None:
        """Add the outcome of a task; the last one goes back with the end that follows."""
        self._running = None
        self._crawl = crawl
        self._outcomes.append(outcome)
        if self._is_late and not is_last:
            self._notify()

    def report(self, report: Report) -> None:
        """Add a report of something else than a task's outcome."""
        self._reports.append(report)

    def end(self) -> None:
        """Send back what is left, as no more is to come."""
        self.is_over = True
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._changed.set)

    # In the loop of Dask's worker

    async def answer(self) -> Answer:
        """Return all reports, or those that are ready when patience is over or a task takes too
        long."""
        patience = monotonic() + PATIENCE
        while True:
            self._changed.clear()
            now = monotonic()
            self._is_late = now >= patience
            overdue = self._overdue(now)
            if self.is_over or overdue is not None or (self._is_late and self._outcomes):
                return self._taken(overdue)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._pause(now, patience))

    def _taken(self, overdue: int | None) -> Answer:
        is_last = self.is_over  # before the last are taken
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        reports = [self._reports.popleft() for _ in range(len(self._reports))]
        reports += [Outcomes.of(self._crawl, outcomes)] * bool(outcomes)
        return Answer(tuple(map(encode_report, reports)), is_last, overdue)

    def _overdue(self, now: float) -> int | None:
        if (running := self._running) is None:
            return None
        task_id, since = running
        limit = self._limits.get(task_id)
        return task_id if limit and now - since >= limit else None

    def _pause(self, now: float, patience: float) -> float | None:
        # Seconds until it must be looked at again, whatever happens.
        pauses = [patience - now] * (not self._is_late)
        if self._limits:
            task_id, since = self._running or (-1, now)  # no task has this id
            limit = self._limits.get(task_id, min(self._limits.values()))
            pauses.append(max(0.001, since + limit - now))
        return min(pauses, default=None)
