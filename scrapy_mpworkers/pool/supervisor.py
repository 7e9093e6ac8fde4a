"""Keeps every lane manned. Everything here runs in the event loop's thread."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.errors import UNKNOWN_EXIT, exit_in_words, exit_label
from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.interface import Death, Loop
from scrapy_mpworkers.pool.memory import OutOfMemoryKills
from scrapy_mpworkers.pool.metrics import Figures
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.shortages import in_words, remedy
from scrapy_mpworkers.pool.start_methods import SERVER_GONE, Processes
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.vacancies import Vacancies
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.pool.worker_handle import Lane
from scrapy_mpworkers.wire.messages import POISON_PILL

logger = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL of a worker that does not end.
GRACE_SECONDS = 2.0
#: Seconds after SIGKILL in which a worker ends, if it ever does.
LAST_SECONDS = 10.0

#: What to do about workers that die.
SEE_IT = (
    "Look for the first error of a worker in the log, or run in one process to see it: "
    "-s MPWORKERS_WORKERS=0"
)
_SEE_THREAD = "Something in Scrapy's process ends its threads, or replaces how they wait"


class Owner(Protocol):
    """What the supervisor needs of the pool."""

    loop: Loop
    awake: Awake

    def call_in_loop(self, function: Callable[[], None]) -> None: ...
    def lane_made(self, lane: Lane) -> None: ...
    def lane_started(self, lane: Lane) -> None: ...
    def all_figures(self) -> Iterable[Figures]: ...
    def lane_lost(self, lane: Lane, death: Death) -> bool: ...
    def lanes_exhausted(self, history: str, advice: str) -> None: ...


class Supervisor:
    """Starts lanes, replaces those that die, stops them all."""

    def __init__(
        self,
        owner: Owner,
        processes: Processes,
        restarts: RestartIntensity,
        watcher: Watcher,
        starter: Starter,
        name: str,
    ) -> None:
        self._owner = owner
        self._processes = processes
        self._restarts = restarts
        self._watcher = watcher
        self._starter = starter
        self._name = name
        self._vacancies = Vacancies(restarts.period, owner.loop, self._start_again)
        self._generations: dict[int, int] = {}
        self._stopped: Callable[[], None] | None = None
        self._retired = self._exiting = self._knows_of_taken_exits = False
        self._last_exit = ""
        self._oom = OutOfMemoryKills()
        self.lanes: list[Lane] = []

    def man(self, places: int) -> None:
        """Start a lane for each place."""
        for place in range(places):
            self._start(place)

    def open_lanes(self) -> list[Lane]:
        """The lanes that may get work."""
        return [lane for lane in self.lanes if lane.ready and not lane.closing]

    def became_ready(self, lane: Lane) -> None:
        """The worker of *lane* has opened its consumers."""
        lane.ready = True
        relieved, lane.relieves = lane.relieves, None
        if relieved in self.lanes and not relieved.closing:
            relieved.closing = True
            self._let_go(relieved)

    def recycle(self, lane: Lane, why: str) -> None:
        """Replace a worker that has served its time: its relief first."""
        if lane.retiring or lane.closing or self._stopped is not None or self._retired:
            return
        lane.retiring = True
        for figures in self._owner.all_figures():
            figures.recycled[why] += 1
        logger.debug("Worker %s is recycled after %d items (%s)", lane.title, lane.settled, why)
        self._start(lane.place, relieves=lane)

    def ended(self, lane: Lane, exitcode: int | None) -> None:
        """A worker is gone. Replace it, unless it was meant to go."""
        if self._exiting:
            return  # multiprocessing joins its processes now; they must not be closed under it
        if lane not in self.lanes:
            lane.discard()  # it was left behind, and the starter with it
            return
        self.lanes.remove(lane)
        if exitcode == UNKNOWN_EXIT:
            self._say_that_exits_are_taken()
            exitcode = None
        explained = lane.killed or exitcode == SERVER_GONE
        is_oom = exitcode == -signal.SIGKILL and not explained and self._oom.any_since_last_look()
        running = lane.running()
        if not lane.closing or not (lane.is_empty or explained):
            self._note_death(lane, exitcode, is_oom, running)
        words = exit_in_words(exitcode, is_oom)
        charged = None if explained else running
        begun = None if exitcode == SERVER_GONE else lane.begun()
        death = Death(exitcode, words, charged, is_oom, begun)
        is_ones_own = self._owner.lane_lost(lane, death)
        self._starter.do(lane.discard)
        is_fruitless = lane.hung or not (lane.settled or explained)
        culprit = begun if running is None else running
        self._replace(lane, is_fruitless and not is_ones_own, culprit)

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills and wait for the exits; after *timeout* seconds terminate, then kill."""
        self._stopped = stopped
        for lane in self.lanes:
            lane.closing = True
            self._let_go(lane)
        self._later(timeout, self._terminate)
        self._finish_if_empty()

    def kill_all(self) -> None:
        """End every worker at once, for good; what they ran is nobody's fault."""
        self._retired = True
        self._processes.retire_server()
        for lane in self.lanes:
            lane.kill_for_good()

    def starter_died(self, error: BaseException) -> None:
        """There is no thread any more that could start a worker."""
        self.lanes[:] = [lane for lane in self.lanes if lane.pid is not None]
        self._starter.do_the_rest()
        if self._stopped is None and not self._retired:
            self._exhausted(f"the thread that starts workers has ended: {error!r}", _SEE_THREAD)
        self._finish_if_empty()

    def exit_now(self) -> None:
        """The interpreter exits, with the loop perhaps still running in another thread."""
        self._exiting = True
        self.kill_all()

    def _start(self, place: int, relieves: Lane | None = None) -> None:
        generation = self._generations[place] = self._generations.get(place, -1) + 1
        lane = Lane(self._name, place, generation, relieves)
        siblings = list(self.lanes)
        self.lanes.append(lane)
        self._owner.lane_made(lane)
        is_fork = self._processes.method == "fork"
        # In the starter also what ends a thread: the place would wait for ever.
        failures = (Exception,) if is_fork else (BaseException,)

        def start() -> None:
            if lane not in self.lanes:
                return  # given up meanwhile
            try:
                lane.start(self._processes, siblings)
            except failures as error:
                # Without its frames, which hold what the start has opened, for as long as they
                # refer to the error.
                failure = error.with_traceback(None)
                self._owner.call_in_loop(lambda: self._start_failed(lane, failure))
            else:
                if lane in self.lanes:
                    self._owner.call_in_loop(lambda: self._started(lane))
                else:
                    lane.undo()  # left behind, and the loop may never run again

        if is_fork:
            # A fork copies every lock as it is. Most are taken in the loop's thread (imports,
            # cloudpickle's class register), so it must be this thread that forks, now and not
            # in the middle of something. It lives as long as the pool, too.
            start()
        else:
            self._starter.do(start)

    def _started(self, lane: Lane) -> None:
        logger.debug("Worker %s started, pid %s", lane.name, lane.pid)
        if lane not in self.lanes:
            self._starter.do(lane.undo)  # given up meanwhile
            return
        self._vacancies.started()
        self._watcher.add(lane)
        if lane.killed:
            lane.kill()  # its time was up before it had a number
            return
        if self._stopped is not None or self._retired:
            for figures in self._owner.all_figures():
                figures.started += 1
            self._let_go(lane)
            return
        self._owner.lane_started(lane)

    def _start_failed(self, lane: Lane, error: BaseException) -> None:
        if lane not in self.lanes:
            return  # given up meanwhile
        self.lanes.remove(lane)
        if lane.hung:
            self._last_exit = f"{lane.name} could not be started in time"
            logger.error("Worker %s", self._last_exit)
            self._replace(lane, is_fruitless=True)
        elif self._stopped is not None:
            self._finish_if_empty()
        elif not self._retired and not self._vacancies.try_later(lane, error, self._has_worker):
            self._exhausted(f"no worker can be started: {in_words(error)}", remedy(error))

    @property
    def _has_worker(self) -> bool:
        return any(lane.pid is not None and not lane.killed for lane in self.lanes)

    def _start_again(self, place: int, relieves: Lane | None) -> None:
        if self._stopped is None and not self._retired:
            self._start(place, relieves)

    def _replace(self, lane: Lane, is_fruitless: bool, task: int | None = None) -> None:
        if self._stopped is not None:
            self._finish_if_empty()
        elif self._retired or lane.closing or self._is_being_relieved(lane):
            return
        elif is_fruitless and lane.hung and not self._may_become_ready():
            self._exhausted(f"no worker became ready; the last: {self._last_exit}", SEE_IT)
        elif not is_fruitless or self._restarts.allows(monotonic(), task):
            self._start(lane.place, relieves=lane.relieves)
        else:
            self._exhausted(self._history(), SEE_IT)

    def _may_become_ready(self) -> bool:
        """Whether a worker is open, or has yet to get its turn to open."""
        return any(lane.awaits_turn for lane in self.lanes) or bool(self.open_lanes())

    def _history(self) -> str:
        """The fruitless deaths in one sentence."""
        restarts = self._restarts
        tasks = ""
        if restarts.culprits == 1:
            tasks = ", some of them while they ran one and the same item"
        elif restarts.culprits:
            tasks = f", while they ran {restarts.culprits} different items"
        return (
            f"{restarts.deaths} workers died within {restarts.period:g} s before they settled "
            f"anything{tasks}; the last: {self._last_exit}"
        )

    def _is_being_relieved(self, lane: Lane) -> bool:
        is_soon = any(other.relieves is lane for other in self.lanes)
        return is_soon or self._vacancies.are_to_relieve(lane)

    def _exhausted(self, history: str, advice: str) -> None:
        self._retired = True
        self._owner.lanes_exhausted(history, advice)

    def _let_go(self, lane: Lane) -> None:
        if not lane.ready and lane.withdraw():
            # Nothing is open in it that would have to be closed; nobody waits for its boot.
            lane.kill_for_good()
        else:
            lane.send(POISON_PILL)

    def _terminate(self) -> None:
        for lane in self.lanes:
            logger.warning("Worker %s did not end in time and is terminated", lane.title)
            lane.killed = True
            lane.kill(signal.SIGTERM)
        if self.lanes:
            self._later(GRACE_SECONDS, self._kill_or_leave)

    def _kill_or_leave(self) -> None:
        self.kill_all()
        self._later(LAST_SECONDS, self._leave_behind)

    def _leave_behind(self) -> None:
        """Not even SIGKILL has ended them, or their start hangs: end without them."""
        for lane in self.lanes:
            logger.error("Worker %s cannot be ended and is left behind", lane.title)
        self.lanes.clear()
        self._finish_if_empty()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        self._owner.awake.later(seconds, function, self._owner.loop.call_later)

    def _finish_if_empty(self) -> None:
        if not self.lanes and self._stopped is not None:
            stopped, self._stopped = self._stopped, lambda: None
            stopped()

    def _say_that_exits_are_taken(self) -> None:
        if not self._knows_of_taken_exits and self._processes.method != "forkserver":
            self._knows_of_taken_exits = True
            logger.warning(
                "The exit codes of workers go to somebody else, so their deaths cannot be told "
                "apart: something in Scrapy's process ignores SIGCHLD or waits for any child"
            )

    def _note_death(
        self, lane: Lane, exitcode: int | None, out_of_memory: bool, running: int | None
    ) -> None:
        server_gone = exitcode == SERVER_GONE
        for figures in self._owner.all_figures():
            figures.deaths[exit_label(None if server_gone else exitcode)] += 1
        words = exit_in_words(exitcode, out_of_memory)
        if server_gone:
            words = "went with its fork server"
        self._last_exit = f"{lane.title} {words}"
        if lane.hung:
            self._last_exit += ", since it was not ready in time"
        if lane.closing and lane.ready and running is None:
            logger.error(
                "Worker %s while it closed its pipelines: what they still held is lost",
                self._last_exit,
            )
        elif self._stopped is None:
            logger.warning("Worker %s; replacing it", self._last_exit)
        else:
            logger.debug("Worker %s", self._last_exit)
