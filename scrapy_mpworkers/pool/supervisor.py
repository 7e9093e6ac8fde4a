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
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.shortages import in_words, remedy
from scrapy_mpworkers.pool.start_methods import SERVER_GONE, Processes
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.vacancies import Vacancies
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
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
    def handle_made(self, handle: ProcessHandle) -> None: ...
    def handle_started(self, handle: ProcessHandle) -> None: ...
    def all_figures(self) -> Iterable[Metrics]: ...
    def handle_lost(self, handle: ProcessHandle, death: Death) -> bool: ...
    def handles_exhausted(self, history: str, advice: str) -> None: ...


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
        self.handles: list[ProcessHandle] = []

    def man(self, places: int) -> None:
        """Start a lane for each place."""
        for place in range(places):
            self._start(place)

    def open_handles(self) -> list[ProcessHandle]:
        """The lanes that may get work."""
        return [handle for handle in self.handles if handle.ready and not handle.closing]

    def became_ready(self, handle: ProcessHandle) -> None:
        """The worker of *lane* has opened its consumers."""
        handle.ready = True
        relieved, handle.relieves = handle.relieves, None
        if relieved in self.handles and not relieved.closing:
            relieved.closing = True
            self._let_go(relieved)

    def recycle(self, handle: ProcessHandle, why: str) -> None:
        """Replace a worker that has served its time: its relief first."""
        if handle.retiring or handle.closing or self._stopped is not None or self._retired:
            return
        handle.retiring = True
        for metrics in self._owner.all_figures():
            metrics.recycled[why] += 1
        logger.debug("Worker %s is recycled after %d items (%s)", handle.title, handle.settled, why)
        self._start(handle.place, relieves=handle)

    def ended(self, handle: ProcessHandle, exitcode: int | None) -> None:
        """A worker is gone. Replace it, unless it was meant to go."""
        if self._exiting:
            return  # multiprocessing joins its processes now; they must not be closed under it
        if handle not in self.handles:
            handle.discard()  # it was left behind, and the starter with it
            return
        self.handles.remove(handle)
        if exitcode == UNKNOWN_EXIT:
            self._say_that_exits_are_taken()
            exitcode = None
        explained = handle.killed or exitcode == SERVER_GONE
        is_oom = exitcode == -signal.SIGKILL and not explained and self._oom.any_since_last_look()
        running = handle.running()
        if not handle.closing or not (handle.is_empty or explained):
            self._note_death(handle, exitcode, is_oom, running)
        words = exit_in_words(exitcode, is_oom)
        charged = None if explained else running
        begun = None if exitcode == SERVER_GONE else handle.begun()
        death = Death(exitcode, words, charged, is_oom, begun)
        is_ones_own = self._owner.handle_lost(handle, death)
        self._starter.do(handle.discard)
        is_fruitless = handle.hung or not (handle.settled or explained)
        culprit = begun if running is None else running
        self._replace(handle, is_fruitless and not is_ones_own, culprit)

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills and wait for the exits; after *timeout* seconds terminate, then kill."""
        self._stopped = stopped
        for handle in self.handles:
            handle.closing = True
            self._let_go(handle)
        self._later(timeout, self._terminate)
        self._finish_if_empty()

    def kill_all(self) -> None:
        """End every worker at once, for good; what they ran is nobody's fault."""
        self._retired = True
        self._processes.retire_server()
        for handle in self.handles:
            handle.kill_for_good()

    def starter_died(self, error: BaseException) -> None:
        """There is no thread any more that could start a worker."""
        self.handles[:] = [handle for handle in self.handles if handle.pid is not None]
        self._starter.do_the_rest()
        if self._stopped is None and not self._retired:
            self._exhausted(f"the thread that starts workers has ended: {error!r}", _SEE_THREAD)
        self._finish_if_empty()

    def exit_now(self) -> None:
        """The interpreter exits, with the loop perhaps still running in another thread."""
        self._exiting = True
        self.kill_all()

    def _start(self, place: int, relieves: ProcessHandle | None = None) -> None:
        generation = self._generations[place] = self._generations.get(place, -1) + 1
        handle = ProcessHandle(self._name, place, generation, relieves)
        siblings = list(self.handles)
        self.handles.append(handle)
        self._owner.handle_made(handle)
        is_fork = self._processes.method == "fork"
        # In the starter also what ends a thread: the place would wait for ever.
        failures = (Exception,) if is_fork else (BaseException,)

        def start() -> None:
            if handle not in self.handles:
                return  # given up meanwhile
            try:
                handle.start(self._processes, siblings)
            except failures as error:
                # Without its frames, which hold what the start has opened, for as long as they
                # refer to the error.
                failure = error.with_traceback(None)
                self._owner.call_in_loop(lambda: self._start_failed(handle, failure))
            else:
                if handle in self.handles:
                    self._owner.call_in_loop(lambda: self._started(handle))
                else:
                    handle.undo()  # left behind, and the loop may never run again

        if is_fork:
            # A fork copies every lock as it is. Most are taken in the loop's thread (imports,
            # cloudpickle's class register), so it must be this thread that forks, now and not
            # in the middle of something. It lives as long as the pool, too.
            start()
        else:
            self._starter.do(start)

    def _started(self, handle: ProcessHandle) -> None:
        logger.debug("Worker %s started, pid %s", handle.name, handle.pid)
        if handle not in self.handles:
            self._starter.do(handle.undo)  # given up meanwhile
            return
        self._vacancies.started()
        self._watcher.add(handle)
        if handle.killed:
            handle.kill()  # its time was up before it had a number
            return
        if self._stopped is not None or self._retired:
            for metrics in self._owner.all_figures():
                metrics.started += 1
            self._let_go(handle)
            return
        self._owner.handle_started(handle)

    def _start_failed(self, handle: ProcessHandle, error: BaseException) -> None:
        if handle not in self.handles:
            return  # given up meanwhile
        self.handles.remove(handle)
        if handle.hung:
            self._last_exit = f"{handle.name} could not be started in time"
            logger.error("Worker %s", self._last_exit)
            self._replace(handle, is_fruitless=True)
        elif self._stopped is not None:
            self._finish_if_empty()
        elif not self._retired and not self._vacancies.try_later(handle, error, self._has_worker):
            self._exhausted(f"no worker can be started: {in_words(error)}", remedy(error))

    @property
    def _has_worker(self) -> bool:
        return any(handle.pid is not None and not handle.killed for handle in self.handles)

    def _start_again(self, place: int, relieves: ProcessHandle | None) -> None:
        if self._stopped is None and not self._retired:
            self._start(place, relieves)

    def _replace(self, handle: ProcessHandle, is_fruitless: bool, task: int | None = None) -> None:
        if self._stopped is not None:
            self._finish_if_empty()
        elif self._retired or handle.closing or self._is_being_relieved(handle):
            return
        elif is_fruitless and handle.hung and not self._may_become_ready():
            self._exhausted(f"no worker became ready; the last: {self._last_exit}", SEE_IT)
        elif not is_fruitless or self._restarts.allows(monotonic(), task):
            self._start(handle.place, relieves=handle.relieves)
        else:
            self._exhausted(self._history(), SEE_IT)

    def _may_become_ready(self) -> bool:
        """Whether a worker is open, or has yet to get its turn to open."""
        return any(handle.awaits_turn for handle in self.handles) or bool(self.open_handles())

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

    def _is_being_relieved(self, handle: ProcessHandle) -> bool:
        is_soon = any(other.relieves is handle for other in self.handles)
        return is_soon or self._vacancies.are_to_relieve(handle)

    def _exhausted(self, history: str, advice: str) -> None:
        self._retired = True
        self._owner.handles_exhausted(history, advice)

    def _let_go(self, handle: ProcessHandle) -> None:
        if not handle.ready and handle.withdraw():
            # Nothing is open in it that would have to be closed; nobody waits for its boot.
            handle.kill_for_good()
        else:
            handle.send(POISON_PILL)

    def _terminate(self) -> None:
        for handle in self.handles:
            logger.warning("Worker %s did not end in time and is terminated", handle.title)
            handle.killed = True
            handle.kill(signal.SIGTERM)
        if self.handles:
            self._later(GRACE_SECONDS, self._kill_or_leave)

    def _kill_or_leave(self) -> None:
        self.kill_all()
        self._later(LAST_SECONDS, self._leave_behind)

    def _leave_behind(self) -> None:
        """Not even SIGKILL has ended them, or their start hangs: end without them."""
        for handle in self.handles:
            logger.error("Worker %s cannot be ended and is left behind", handle.title)
        self.handles.clear()
        self._finish_if_empty()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        self._owner.awake.later(seconds, function, self._owner.loop.call_later)

    def _finish_if_empty(self) -> None:
        if not self.handles and self._stopped is not None:
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
        self, handle: ProcessHandle, exitcode: int | None, out_of_memory: bool, running: int | None
    ) -> None:
        server_gone = exitcode == SERVER_GONE
        for metrics in self._owner.all_figures():
            metrics.deaths[exit_label(None if server_gone else exitcode)] += 1
        words = exit_in_words(exitcode, out_of_memory)
        if server_gone:
            words = "went with its fork server"
        self._last_exit = f"{handle.title} {words}"
        if handle.hung:
            self._last_exit += ", since it was not ready in time"
        if handle.closing and handle.ready and running is None:
            logger.error(
                "Worker %s while it closed its pipelines: what they still held is lost",
                self._last_exit,
            )
        elif self._stopped is None:
            logger.warning("Worker %s; replacing it", self._last_exit)
        else:
            logger.debug("Worker %s", self._last_exit)
