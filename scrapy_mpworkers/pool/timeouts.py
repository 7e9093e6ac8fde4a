"""Limits of time, enforced from outside: a worker that exceeds one is killed.

They count time in which this process could run: if it was frozen, so were the workers, most likely.

Everything here runs in the event loop's thread and looks at dials when a time is up, never
otherwise: an idle pool uses no CPU.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.task_queue import Entry
from scrapy_mpworkers.pool.worker_handle import ProcessHandle, while_it_lives
from scrapy_mpworkers.wire.messages import CALL

logger = logging.getLogger(__name__)

#: Seconds after which a lane that has not taken up its lease, with an idle dial, counts as stuck.
#: It is killed, and its leases go elsewhere uncharged.
STUCK_SECONDS = 10.0
#: Seconds that a worker may take to open the consumers of a crawl. Models are loaded then.
BOOT_SECONDS = 300.0
#: Seconds after which to look again whether there is anything to watch.
_LOOK_EVERY = 5.0
#: Seconds after which to look again at a dial that is just being written.
_BLINK = 0.01


class Killable(Protocol):
    """A lane whose worker can be ended from outside."""

    overdue: int | None

    @property
    def title(self) -> str: ...
    def kill_for_good(self) -> None: ...


def end_overdue(handle: Killable, entry: Entry) -> None:
    """A task takes longer than it may: end its worker, and say so."""
    logger.warning(
        "%s %d takes longer than %g s%s; its worker %s is killed",
        "Call" if entry.hop == CALL else "Item",
        entry.id,
        entry.limit,
        "" if entry.hop == CALL else " (MPWORKERS_ITEM_TIMEOUT)",
        handle.title,
    )
    handle.overdue = entry.id
    handle.kill_for_good()


class TimeLimit:
    """Looks at the dial of a busy lane when its task's time is up, and never otherwise.

    Args:
        leases: the unsettled entries that a lane holds.
        entry: one of them, by the id of its task.
        call_later: calls a function in the loop's thread after some seconds.
        awake: counts the time. Whoever looks for stuck lanes holds it, while any has work.
    """

    def __init__(
        self,
        leases: Callable[[ProcessHandle], Iterator[Entry]],
        entry: Callable[[ProcessHandle, int], Entry | None],
        call_later: Callable[[float, Callable[[], None]], None],
        awake: Awake,
    ) -> None:
        self._awake = awake
        self._leases = leases
        self._entry = entry
        self._call_later = call_later
        self._looks_at: weakref.WeakKeyDictionary[ProcessHandle, float] = (
            weakref.WeakKeyDictionary()
        )
        self.is_used = False  #: whether any task has had a limit; else nothing is looked at

    def watch(self, handle: ProcessHandle) -> None:
        """The lane has got work. It is watched until it has none with a limit any more."""
        if not self.is_used:
            return
        shortest = min((entry.limit for entry in self._leases(handle) if entry.limit), default=0.0)
        if shortest:
            self._look_in(handle, shortest)

    def _look_in(self, handle: ProcessHandle, seconds: float) -> None:
        due = monotonic() + seconds
        if due < self._looks_at.get(handle, math.inf):
            self._looks_at[handle] = due
            self._call_later(seconds, while_it_lives(handle, self._look))

    def _look(self, handle: ProcessHandle) -> None:
        self._looks_at.pop(handle, None)
        if handle.killed or not handle.has_work:
            return
        turn = handle.turn()
        running = (
            None if turn is None or turn.task_id is None else self._entry(handle, turn.task_id)
        )
        if turn is None:
            self._look_in(handle, _BLINK)
        elif running is None or not running.limit:
            self.watch(handle)
        elif (left := running.limit - self._awake.seconds_since(turn.started)) > 0:
            self._look_in(handle, max(left, _BLINK))
        else:
            end_overdue(handle, running)


class StuckHandles:
    """Kills lanes that do not take up their lease while their dial is idle (SIGSTOP, for one).

    Args:
        lanes: the supervisor's, as they are at the moment.
        oldest_lease: the task that a lane has had for the longest time.
        hear: takes in what a lane has said so far.
        call_later: calls a function in the loop's thread after some seconds.
        awake: counts the time.
    """

    def __init__(
        self,
        handles: Callable[[], Iterable[ProcessHandle]],
        oldest_lease: Callable[[ProcessHandle], Entry | None],
        hear: Callable[[ProcessHandle], None],
        call_later: Callable[[float, Callable[[], None]], None],
        awake: Awake,
    ) -> None:
        self._awake = awake
        self._handles = handles
        self._oldest_lease = oldest_lease
        self._hear = hear
        self._call_later = call_later
        self._watching = False

    def watch(self) -> None:
        """A lane has got work. All are watched until none has any."""
        if not self._watching:
            self._watching = True
            self._awake.hold(self)
            self._call_later(STUCK_SECONDS / 2, self._look)

    def _look(self) -> None:
        self._watching = False
        for handle in list(self._handles()):
            if self._seems_stuck(handle):
                self._hear(handle)
                if self._seems_stuck(handle):
                    logger.warning("Worker %s does not take up its work and is killed", handle.name)
                    handle.is_mute = True
                    handle.kill_for_good()
        if not self._watching:
            self._awake.let_go(self)

    def _seems_stuck(self, handle: ProcessHandle) -> bool:
        oldest = self._oldest_lease(handle)
        if oldest is None:
            return False
        self.watch()
        turn = handle.turn()
        is_idle = turn is None or (turn.task_id is None and turn.crawl is None)
        return (
            is_idle
            and not handle.killed
            and self._awake.seconds_since(max(oldest.leased_at, handle.heard_at)) > STUCK_SECONDS
        )


class OpeningLimit:
    """Kills lanes whose worker takes too long to start, or to open the consumers of a crawl.

    Args:
        lanes: the supervisor's, as they are at the moment.
        hear: takes in what a lane has said so far.
        kill_server: ends a fork server that hangs.
        call_later: calls a function in the loop's thread after some seconds.
        awake: counts the time.
    """

    def __init__(
        self,
        handles: Callable[[], Iterable[ProcessHandle]],
        hear: Callable[[ProcessHandle], None],
        kill_server: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], None],
        awake: Awake,
    ) -> None:
        self._awake = awake
        self._handles = handles
        self._hear = hear
        self._kill_server = kill_server
        self._call_later = call_later

    def watch(self, handle: ProcessHandle) -> None:
        """The lane is new, or has been told to open something."""
        self._awake.hold(self)
        self._look_in(handle, BOOT_SECONDS)

    def _look_in(self, handle: ProcessHandle, seconds: float) -> None:
        # Sooner than it can be too late, to see when nobody has to be watched any more.
        alive = weakref.ref(handle)  # a timer must not keep a discarded lane with its queue
        self._call_later(min(seconds, _LOOK_EVERY), lambda: self._look(alive()))

    def _look(self, handle: ProcessHandle | None) -> None:
        if handle is not None:
            self._hear(handle)
        handles = list(self._handles())
        if all(map(_is_done, handles)):
            self._awake.let_go(self)
        if handle is None or handle not in handles or _is_done(handle) or handle.killed:
            return
        left = BOOT_SECONDS - self._awake.seconds_since(self._since(handle))
        if left > 0:
            self._look_in(handle, max(left, _BLINK))
        else:
            self._end(handle)

    def _since(self, handle: ProcessHandle) -> float:
        """When the worker began with what it is at, or has been silent since."""
        if handle.awaits_turn:
            return monotonic()
        turn = handle.turn()
        if turn is None:
            return handle.asked_at
        if turn.task_id is not None:
            return monotonic()  # of another crawl: however long that may take
        if turn.crawl is not None:
            return max(turn.started, handle.turn_at or 0.0)
        return max(handle.asked_at, handle.heard_at, handle.turn_at or 0.0)

    def _end(self, handle: ProcessHandle) -> None:
        logger.error(
            "Worker %s was not ready after %.0f s and is killed", handle.title, BOOT_SECONDS
        )
        handle.hung = True
        if handle.pid is None:
            self._kill_server()  # its start waits for imports that do not end
        handle.kill_for_good()


def _is_done(handle: ProcessHandle) -> bool:
    """Whether it has opened all that it was told to."""
    return handle.ready and not handle.opening
