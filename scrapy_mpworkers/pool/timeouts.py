"""Enforces limits of time from outside: a worker that exceeds one is killed.

Limits count time in which this process could run. Everything here runs in the event loop's thread,
and looks at scoreboards only when a time is up: an idle pool uses no CPU.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from operator import attrgetter
from time import monotonic
from weakref import WeakKeyDictionary, WeakSet

from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.report_listener import ReportListener, while_it_lives
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.pool.worker_process import UNKNOWN
from scrapy_mpworkers.pool.worker_state import KilledFor
from scrapy_mpworkers.pool.workers import WorkerHandle
from scrapy_mpworkers.wire.messages import AT_WORK

logger = logging.getLogger(__name__)

#: Seconds after which a worker that has not taken up its lease counts as stuck, if it is idle, and
#: does not answer that it runs code of the user.
#: The pool kills it and gives its tasks to other workers; those that it has begun and not reported
#: become suspects.
STUCK_SECONDS = 10.0
#: Seconds that a worker has to say that it is at work, before it counts as stuck.
_TO_ANSWER = 1.0
#: Seconds that a worker may take to open the consumers of a crawl. Models are loaded then.
BOOT_SECONDS = 300.0
#: Seconds after which to look again whether there is anything to watch.
_LOOK_EVERY = 5.0
#: Seconds after which to look again at a scoreboard that is just being written.
_BLINK = 0.01


def end_overdue(handle: WorkerHandle, task: Task, stack: str, runs_as_one: bool) -> None:
    """End a worker whose task takes too long. The error of the task says so, unless that ran as one
    with others, of which any may be to blame."""
    others = task.message.unsettled - 1 if runs_as_one and task.message is not None else 0
    if others:
        logger.warning(
            "One of %d items takes longer than %g s (MPWORKERS_ITEM_TIMEOUT); their worker %s is "
            "killed, and they run again one by one. It was here:\n%s",
            others + 1,
            task.limit,
            handle.title,
            stack,
        )
    handle.kill_overdue(task.id, stack)


class TimeLimit:
    """Looks at the scoreboard of a busy worker when its task's time is up, and never otherwise. The
    watchdog keeps the clock running while any worker has work."""

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
        if handle.is_killed or not handle.open_messages:
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
            told = partial(self._end, handle, running, activity.started)
            self._state.stack_requests.last_words(handle, told)

    def _end(self, handle: ProcessHandle, task: Task, started: float, stack: str) -> None:
        """End a worker that has said where it is, unless it has done with that meanwhile. The next
        call of a batch and the next part of a callback have the same task, but begin anew."""
        activity = handle.activity()
        is_at_it = (activity.task_id, activity.started) == (task.id, started)
        if is_at_it and self._state.task(handle, task.id) is task and not handle.is_killed:
            end_overdue(handle, task, stack, self._state.options.batched is not None)
        else:
            self.watch(handle)


class Watchdog:
    """Kills workers that are stuck: that do not take up their lease while they are idle (SIGSTOP,
    for one), or take too long to start or to open the consumers of a crawl."""

    def __init__(self, state: GroupState, listener: ReportListener, processes: Processes) -> None:
        self._state = state
        self._awake = state.awake
        self._listener = listener
        self._processes = processes
        self._looks_at = inf  # when the first timer runs out
        self._at_work_at: WeakKeyDictionary[ProcessHandle, float] = WeakKeyDictionary()
        self._told_of: WeakSet[ProcessHandle] = WeakSet()  # that it is at work

    def watch(self) -> None:
        """Watch all workers until none has work, or has to open anything."""
        self._state.watching(True)
        self._awake.hold(self)
        self._look_in(min(STUCK_SECONDS, BOOT_SECONDS))

    def _look_in(self, seconds: float) -> None:
        # Look more often than the limits need, to see when nobody has to be watched any more.
        seconds = min(seconds, _LOOK_EVERY)
        due = monotonic() + seconds
        if due < self._looks_at:
            self._looks_at = due
            self._state.loop.call_later(seconds, lambda: self._look(due))

    def _look(self, due: float) -> None:
        if due != self._looks_at:
            return  # another timer was sooner
        self._looks_at = inf
        left = min(map(self._judge, list(self._state.handles)), default=inf)
        if left < inf:
            self._look_in(max(left, _BLINK))
        else:
            self._state.watching(False)
            self._awake.let_go(self)

    def _judge(self, handle: ProcessHandle) -> float:
        """Kill a worker whose time is up, or return the seconds that it has left."""
        left = min(self._left_to_begin(handle), self._left_to_open(handle))
        if left > 0:
            return left
        self._listener.hear(handle)
        if min(self._left_to_begin(handle), self._left_to_open(handle)) <= 0:
            told = partial(self._end, handle)
            self._state.stack_requests.last_words(handle, told, _TO_ANSWER)
        return 0.0

    def _end(self, handle: ProcessHandle, stack: str) -> None:
        """End a worker that has said where it is, if its time is still up."""
        self._listener.hear(handle)
        if self._left_to_begin(handle) <= 0:
            if stack.startswith(AT_WORK) and not self._is_overdue(handle):
                self._spare(handle, stack)
                return
            logger.warning(
                "Worker %s does not take up its work and is killed. It was here:\n%s",
                handle.name,
                stack,
            )
            handle.kill_for(KilledFor.STUCK)
        elif self._left_to_open(handle) <= 0:
            logger.error(
                "Worker %s was not ready after %.0f s and is killed. It was here:\n%s",
                handle.title,
                BOOT_SECONDS,
                stack,
            )
            if handle.pid is None:
                self._processes.kill_server()  # its start waits for imports that do not end
            handle.kill_for(KilledFor.OPENING)

    def _is_overdue(self, handle: ProcessHandle) -> bool:
        """Return whether its oldest task has waited in it for longer than it may run."""
        oldest = self._oldest(handle)
        if oldest is None or not oldest.limit:
            return False
        since = max(oldest.leased_at, handle.heard_at)
        return self._awake.seconds_since(since) > max(STUCK_SECONDS, oldest.limit)

    def _spare(self, handle: ProcessHandle, stack: str) -> None:
        """Give a worker time that runs code of the user between two items: what it is about to
        store would be lost with it."""
        self._at_work_at[handle] = monotonic()
        if handle not in self._told_of:
            self._told_of.add(handle)
            logger.warning(
                "Worker %s has not taken up its next items for %.0f s, since a task of its "
                "pipelines keeps its event loop. They wait for it; await there, or call what "
                "blocks with asyncio.to_thread. It was here:\n%s",
                handle.title,
                STUCK_SECONDS,
                stack,
            )

    def _oldest(self, handle: ProcessHandle) -> Task | None:
        firsts = [next(one.leases(handle), None) for one in self._state.all_executors()]
        return min(filter(None, firsts), key=attrgetter("leased_at"), default=None)

    def _left_to_begin(self, handle: ProcessHandle) -> float:
        """Return the seconds in which a worker has to take up its oldest lease."""
        oldest = self._oldest(handle)
        if oldest is None or handle.is_killed:
            return inf
        activity = handle.activity()
        if activity.task_id is not None or activity.crawl is not None:
            return STUCK_SECONDS
        at_work_at = self._at_work_at.get(handle, 0.0)
        since = max(oldest.leased_at, handle.heard_at, at_work_at)
        return STUCK_SECONDS - self._awake.seconds_since(since)

    def _left_to_open(self, handle: ProcessHandle) -> float:
        """Return the seconds in which a worker has to open what it was told to."""
        is_done = handle.is_ready and not handle.is_opening
        if is_done or handle.is_killed:
            return inf
        activity = handle.activity()
        if handle.is_waiting or activity.task_id is not None:
            return BOOT_SECONDS  # it must not begin yet, or is at a task of another crawl
        since = max(handle.asked_at, handle.heard_at, handle.allowed_at or 0.0)
        if activity.crawl is not None:
            since = max(activity.started, handle.allowed_at or 0.0)
        elif activity is UNKNOWN:
            since = handle.asked_at
        return BOOT_SECONDS - self._awake.seconds_since(since)
