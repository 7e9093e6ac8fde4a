"""Lets crawls share workers: opens their consumers, gives each its own reports, and lets it leave.

Everything here runs in the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic

from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.interface import Death
from scrapy_mpworkers.pool.task_queue import up_to
from scrapy_mpworkers.pool.timeouts import Watchdog
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.pool.worker_state import CrawlState, KilledFor
from scrapy_mpworkers.wire.messages import (
    Closed,
    CrawlReport,
    Ending,
    OpenCrawl,
    Opened,
    OpenFailed,
    Outcomes,
    as_outcome,
)

logger = logging.getLogger(__name__)

#: Seconds after which consumers that could not be opened in a worker are tried again. If new
#: workers cannot open any, that time doubles, up to the longest.
RETRY_SECONDS = 0.5
LONGEST_PAUSE = 30.0


class Openings:
    """Tells workers which consumers to open, so that a crawl's trouble with that stays its own.

    At the start one worker builds and opens its consumers first, and the others after it, so that
    pipelines do not all create at once what does not exist yet. A crawl that joins is opened in one
    worker first as well. Once consumers have been open anywhere, workers that cannot open them try
    again, one at a time and after a pause.
    """

    def __init__(self, state: GroupState, watchdog: Watchdog) -> None:
        self._state = state
        self._watchdog = watchdog
        self._pause = 0.0  # seconds, while new workers fail to open anything
        self._pause_ends = 0.0

    def boot(self, handle: ProcessHandle) -> None:
        """Tell a worker that has been started which crawls there are."""
        sound = self._state.sound
        setups = []
        for executor in [one for one in sound if one.has_opened] or sound:
            # A crawl of which the worker is told later counts it then.
            executor.metrics.started += 1
            if (setup := self._setup(executor)) is not None:
                setups.append(setup)
        handle.boot(setups)
        self.spread()

    def spread(self) -> None:
        self._allow_to_open()
        for executor in self._state.sound:
            self._spread(executor)

    def opened(self, handle: ProcessHandle, executor: PoolExecutor) -> None:
        """Go on to other workers when one has opened the consumers of a crawl."""
        handle.answered(executor.crawl, CrawlState.OPEN)
        self._pause = 0.0
        self._allow_to_open()
        self._spread(executor)

    def failed(self, handle: ProcessHandle, executor: PoolExecutor) -> None:
        """Let a worker try again later. (One that could not open the first crawls exits.)"""
        handle.answered(executor.crawl, CrawlState.REFUSED)
        if not handle.open_crawls and not handle.is_opening and not handle.is_ready:
            self._make_pause()
        elif executor.may_fail():
            self._state.loop.call_later(RETRY_SECONDS, lambda: self._retry(handle, executor))
        else:
            executor.break_off("its pipelines cannot be opened in workers; see the log")

    def blames(self, handle: ProcessHandle, exit_in_words: str) -> bool:
        """Return whether one crawl is to blame for the end of a worker, and the others are not."""
        if handle.is_opening_first and handle.is_opening:
            self._make_pause()
        crawl = handle.was_at_consumers_of()
        if crawl is None:
            return False
        executor = self._state.present.get(crawl)
        if executor is None or executor.is_broken:
            return True  # it has left since, or is about to
        if not handle.has_to_open(crawl) or self._state.sound == [executor]:
            return False
        if handle.is_hung or not executor.may_fail():
            executor.break_off(f"a worker died of its pipelines' opening: {exit_in_words}")
        return True

    def _allow_to_open(self) -> None:
        """Let new workers open what they were told to at their start."""
        handles = self._state.handles
        waiting = [handle for handle in handles if handle.is_waiting]
        is_safe = self._has_opened() and not self._pause
        is_too_early = not is_safe and any(handle.is_opening_first for handle in handles)
        if is_too_early or monotonic() < self._pause_ends:
            return
        for handle in waiting if is_safe else waiting[:1]:
            handle.allow_to_open()

    def _make_pause(self) -> None:
        """Let the next new worker wait if one could open nothing, though others can."""
        now = monotonic()
        if self._has_opened() and now >= self._pause_ends:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause or RETRY_SECONDS)
            self._pause_ends = now + self._pause
            self._state.loop.call_later(self._pause, self._end_pause)

    def _end_pause(self) -> None:
        # Do not ask monotonic(): a reactor's timers have another clock, and if this one fired too
        # early by ours, nobody would look again.
        self._pause_ends = 0.0
        self._allow_to_open()

    def _has_opened(self) -> bool:
        return any(executor.has_opened for executor in self._state.sound)

    def _retry(self, handle: ProcessHandle, executor: PoolExecutor) -> None:
        handle.may_retry(executor.crawl)
        self._spread(executor)

    def _spread(self, executor: PoolExecutor) -> None:
        if executor not in self._state.sound:
            return
        handles = [handle for handle in self._state.handles if handle.may_open(executor.crawl)]
        if not any(executor.crawl in handle.open_crawls for handle in self._state.handles):
            if any(handle.has_to_open(executor.crawl) for handle in self._state.handles):
                return
            handles = sorted(handles, key=lambda handle: handle.open_messages)[:1]
        for handle in handles:
            setup = self._setup(executor)
            if setup is not None:
                if handle.open_crawl(setup):
                    executor.metrics.started += 1
                self._watchdog.watch()

    def _setup(self, executor: PoolExecutor) -> OpenCrawl | None:
        try:
            return executor.setup()
        except Exception as error:  # classes of that crawl run their own code there
            executor.break_off(f"a worker cannot be told of the crawl any more: {error!r}")
            return None


class Sharing:
    """Gives each crawl the reports that are its own, and lets the crawls take turns."""

    def __init__(self, state: GroupState, openings: Openings) -> None:
        self._state = state
        self._openings = openings
        #: By crawl that leaves: workers that have yet to close its consumers; whom to call then.
        self._awaited: dict[PoolExecutor, set[ProcessHandle]] = {}
        self._on_left: dict[PoolExecutor, Callable[[], None]] = {}

    @property
    def is_awaiting(self) -> bool:
        """Return whether a crawl that leaves waits for its consumers' close."""
        return any(self._awaited.values())

    # What workers do

    def heard(self, handle: ProcessHandle, report: CrawlReport) -> None:
        executor = self._state.executor_of(report.crawl)
        if self._state.is_shared:
            self._state.take_turns(executor)
        if isinstance(report, Opened):
            executor.opened(handle, report)
            self._openings.opened(handle, executor)
        elif isinstance(report, OpenFailed):
            self._openings.failed(handle, executor)
            executor.open_failed(handle, report)
        elif isinstance(report, Closed):
            executor.closed(handle, report)
            self._is_closed_in(handle, executor)

    def lost(self, handle: ProcessHandle, death: Death) -> bool:
        """Tell the crawls that a worker is gone; return whether that is the trouble of one crawl
        alone."""
        is_ones_own = self._openings.blames(handle, death.in_words)
        # A crawl whose items kill workers loses these items one by one. The others, which may not
        # have had a worker for long enough yet, go on.
        is_of_one_task = (death.suspect, death.begun) != (None, None)
        is_ones_own = is_ones_own or (is_of_one_task and len(self._state.sound) > 1)
        left = handle.process.left()
        for executor in self._state.all_executors():
            # Before outcomes that it has left are taken: earlier ones may be lost in a broken pipe.
            begun = up_to(death.begun, executor.leases(handle))
            if left is not None and left.crawl == executor.crawl:
                _take_left(handle, executor, left)
            executor.handle_lost(handle, death, begun)
            if executor.crawl in handle.open_crawls:
                self._is_closed_in(handle, executor)
            self._leave_behind(handle, executor)
        self._state.loop.call_soon(self._openings.spread)  # when its replacement is there
        return is_ones_own and not self._state.is_ending

    def _is_closed_in(self, handle: ProcessHandle, executor: PoolExecutor) -> None:
        if handle.closed(executor.crawl):
            executor.left(handle)
        others = (other for other in self._state.handles if other.slot == handle.slot)
        if not any(executor.crawl in other.open_crawls for other in others):
            executor.not_ready(handle.slot)
        self._leave_behind(handle, executor)

    # How a crawl leaves workers that go on for others

    def leave(
        self, executor: PoolExecutor, timeout: float, on_left: Callable[[], None], ending: Ending
    ) -> None:
        """Have a crawl's consumers closed; call *on_left* then, or after *timeout* seconds."""
        crawl = executor.crawl
        handles = [handle for handle in self._state.handles if handle.serves(crawl)]
        is_open = set() if executor.is_hasty else {h for h in handles if crawl in h.open_crawls}
        self._awaited[executor], self._on_left[executor] = is_open, on_left
        for handle in handles:
            if not handle.is_closing:
                handle.dismiss(crawl, ending)
        self._state.later(timeout, partial(self._see_off, executor, timeout))
        self._state.loop.call_soon(partial(self._proceed, executor))

    def kill_abandoned(self) -> None:
        """End workers that are at a task that was given up."""
        for handle in self._state.handles:
            running = handle.activity().task_id
            if running is not None and self._state.task(handle, running) is None:
                logger.warning(
                    "Worker %s is at a task that was given up, and is killed", handle.title
                )
                handle.kill_for(KilledFor.ABANDONED)

    def _leave_behind(self, handle: ProcessHandle, executor: PoolExecutor) -> None:
        """Wait for nothing of a leaving crawl in this worker any more."""
        if executor in self._awaited:
            self._awaited[executor].discard(handle)
            self._proceed(executor)

    def _proceed(self, executor: PoolExecutor) -> None:
        if not self._awaited.get(executor) and executor in self._on_left:
            self._on_left.pop(executor)()
        is_alive = bool(self._state.present)  # else the pool ends soon, and all its metrics count
        is_there = any(handle.serves(executor.crawl) for handle in self._state.handles)
        if is_alive and not is_there:
            self._state.leaving.pop(executor.crawl, None)
            self._awaited.pop(executor, None)

    def _see_off(self, executor: PoolExecutor, timeout: float) -> None:
        """Let a crawl go whose time is up, and look after what it has left until it is gone: a
        worker may be busy with others for long before it gets there."""
        if executor not in self._awaited:
            return
        self._awaited[executor].clear()
        self._proceed(executor)
        self.kill_abandoned()
        waits = [self._seconds_left(one, executor.crawl, timeout) for one in self._state.handles]
        again = max(min([timeout, *waits]), 0.05)
        self._state.later(again, partial(self._see_off, executor, timeout))

    def _seconds_left(self, handle: ProcessHandle, crawl: int, timeout: float) -> float:
        """Return what a worker has left for opening or closing the consumers of *crawl*."""
        activity = handle.activity()
        if activity.crawl != crawl:
            return inf
        left = timeout - self._state.awake.seconds_since(activity.started)
        if left > 0:
            return left
        self._state.stack_requests.last_words(handle, partial(_end_late, handle, crawl))
        return inf


def _end_late(handle: ProcessHandle, crawl: int, stack: str) -> None:
    if handle.activity().crawl == crawl:
        logger.warning(
            "Worker %s did not close in time and is killed. It was here:\n%s", handle.title, stack
        )
        handle.kill_for(KilledFor.STOP)


def _take_left(handle: ProcessHandle, executor: PoolExecutor, left: Outcomes) -> None:
    """Settle the tasks of which a dead worker has left outcomes that it has not reported."""
    tasks = (executor.task(handle, row[0]) for row in left.rows)
    pairs = zip(left.rows, tasks, strict=True)
    rows = tuple(row for row, task in pairs if task is not None and task.awaits(as_outcome(row)))
    if rows:
        executor.on_outcomes(handle, Outcomes(left.crawl, rows), 0)
