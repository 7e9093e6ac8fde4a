"""Enforces limits of time from outside: a worker that exceeds one is killed.

Limits count time in which this process could run. Everything here runs in the event loop's thread,
and looks at scoreboards only when a time is up: an idle pool uses no CPU.
"""

from __future__ import annotations

import logging
from math import inf
from operator import attrgetter
from time import monotonic
from weakref import WeakKeyDictionary

from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.interface import WorkerHandle
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.task_queue import Task
from scrapy_mpworkers.pool.watcher import Watcher, while_it_lives
from scrapy_mpworkers.pool.worker_handle import KilledFor, ProcessHandle
from scrapy_mpworkers.pool.worker_process import UNKNOWN
from scrapy_mpworkers.wire.messages import CALL

logger = logging.getLogger(__name__)

#: Seconds after which a worker that has not taken up its lease, and is idle, counts as stuck.
#: It is killed, and its leases go elsewhere uncharged.
STUCK_SECONDS = 10.0
#: Seconds that a worker may take to open the consumers of a crawl. Models are loaded then.
BOOT_SECONDS = 300.0
#: Seconds after which to look again whether there is anything to watch.
_LOOK_EVERY = 5.0
#: Seconds after which to look again at a scoreboard that is just being written.
_BLINK = 0.01


def end_overdue(handle: WorkerHandle, task: Task) -> None:
    """End the worker of a task that takes longer than it may, and say so."""
    logger.warning(
        "%s %d takes longer than %g s%s; its worker %s is killed",
        "Call" if task.hop == CALL else "Item",
        task.id,
        task.limit,
        "" if task.hop == CALL else " (MPWORKERS_ITEM_TIMEOUT)",
        handle.title,
    )
    handle.kill_overdue(task.id)


class TimeLimit:
    """Looks at the scoreboard of a busy worker when its task's time is up, and never otherwise.

    Whoever looks for stuck workers has the clock go on, while any has work.
    """

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._looks_at: WeakKeyDictionary[ProcessHandle, float] = WeakKeyDictionary()

    def watch(self, handle: ProcessHandle) -> None:
        """Watch a worker that has got work, until it has none with a limit any more."""
        leases = self._state.leases(handle)
        shortest = min((task.limit for task in leases if task.limit), default=0.0)
        if shortest:
            self._look_in(handle, shortest)

    def _look_in(self, handle: ProcessHandle, seconds: float) -> None:
        due = monotonic() + seconds
        if due < self._looks_at.get(handle, inf):
            self._looks_at[handle] = due
            self._state.loop.call_later(seconds, while_it_lives(handle, self._look))

    def _look(self, handle: ProcessHandle) -> None:
        self._looks_at.pop(handle, None)
        if handle.is_killed or not handle.has_work:
            return
        activity = handle.activity()
        running = self._state.task(handle, activity.task_id)
        if activity is UNKNOWN:
            self._look_in(handle, _BLINK)
        elif running is None or not running.limit:
            self.watch(handle)
        elif (left := running.limit - self._state.awake.seconds_since(activity.started)) > 0:
            self._look_in(handle, max(left, _BLINK))
        else:
            end_overdue(handle, running)


class StuckWorkers:
    """Kills workers that do not take up their lease while they are idle (SIGSTOP, for one)."""

    def __init__(self, state: GroupState, watcher: Watcher) -> None:
        self._state = state
        self._awake = state.awake
        self._watcher = watcher

    def watch(self) -> None:
        """Watch all workers until none has work any more."""
        if not self._state.is_watching:
            self._state.watching(True)
            self._awake.hold(self)
            self._state.loop.call_later(STUCK_SECONDS / 2, self._look)

    def _look(self) -> None:
        self._state.watching(False)
        for handle in list(self._state.handles):
            if self._seems_stuck(handle):
                self._watcher.hear(handle)
                if self._seems_stuck(handle):
                    logger.warning("Worker %s does not take up its work and is killed", handle.name)
                    handle.kill_for(KilledFor.STUCK)
        if not self._state.is_watching:
            self._awake.let_go(self)

    def _seems_stuck(self, handle: ProcessHandle) -> bool:
        by_age = attrgetter("leased_at")
        oldest = min(self._state.leases(handle), key=by_age, default=None)
        if oldest is None:
            return False
        self.watch()
        activity = handle.activity()
        return (
            activity.task_id is None
            and activity.crawl is None
            and not handle.is_killed
            and self._awake.seconds_since(max(oldest.leased_at, handle.heard_at)) > STUCK_SECONDS
        )


class OpeningLimit:
    """Kills workers that take too long to start, or to open the consumers of a crawl."""

    def __init__(self, state: GroupState, watcher: Watcher, processes: Processes) -> None:
        self._state = state
        self._awake = state.awake
        self._watcher = watcher
        self._processes = processes
        self._looks_at = inf  # when the first timer runs out

    def watch(self) -> None:
        """Watch all workers until each has opened what it was told to."""
        self._awake.hold(self)
        self._look_in(BOOT_SECONDS)

    def _look_in(self, seconds: float) -> None:
        # Sooner than it can be too late, to see when nobody has to be watched any more.
        seconds = min(seconds, _LOOK_EVERY)
        due = monotonic() + seconds
        if due < self._looks_at:
            self._looks_at = due
            self._state.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._looks_at = inf
        for handle in filter(_is_opening, list(self._state.handles)):
            self._watcher.hear(handle)
        opening = [handle for handle in self._state.handles if _is_opening(handle)]
        if opening:
            self._look_in(min(map(self._seconds_left, opening)))
        else:
            self._awake.let_go(self)

    def _seconds_left(self, handle: ProcessHandle) -> float:
        """Return what a worker has left, and kill one that has nothing left."""
        left = BOOT_SECONDS - self._awake.seconds_since(self._since(handle))
        if left > 0:
            return max(left, _BLINK)
        if handle.is_killed:
            return inf
        logger.error(
            "Worker %s was not ready after %.0f s and is killed", handle.title, BOOT_SECONDS
        )
        if handle.pid is None:
            self._processes.kill_server()  # its start waits for imports that do not end
        handle.kill_for(KilledFor.OPENING)
        return inf

    def _since(self, handle: ProcessHandle) -> float:
        """Return when the worker began with what it is at, or has been silent since."""
        if handle.is_waiting:
            return monotonic()
        activity = handle.activity()
        if activity is UNKNOWN:
            return handle.asked_at
        if activity.task_id is not None:
            return monotonic()  # of another crawl: however long that may take
        if activity.crawl is not None:
            return max(activity.started, handle.allowed_at or 0.0)
        return max(handle.asked_at, handle.heard_at, handle.allowed_at or 0.0)


def _is_opening(handle: ProcessHandle) -> bool:
    """Return whether it has yet to open something that it was told to."""
    return not handle.is_ready or handle.crawls.any_opening
