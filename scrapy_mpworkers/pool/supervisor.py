"""Keeps every lane manned. Everything here runs in the event loop's thread."""

from __future__ import annotations

import logging
import signal
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.errors import exit_in_words, exit_label
from scrapy_mpworkers.pool.figures import Figures, WorkerTime
from scrapy_mpworkers.pool.lane import Lane
from scrapy_mpworkers.pool.processes import SERVER_GONE, Processes
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.wire.messages import POISON_PILL, Setup

logger = logging.getLogger(__name__)

#: Seconds that a worker may take to become ready. Models are loaded then.
BOOT_SECONDS = 300.0
#: Seconds between SIGTERM and SIGKILL of a worker that does not end.
GRACE_SECONDS = 2.0


class Owner(Protocol):
    """What the supervisor needs of the pool."""

    def call_in_loop(self, function: Callable[[], None]) -> None: ...
    def make_setup(self) -> Setup: ...
    def lane_lost(self, lane: Lane, charged: int | None, exitcode: int | None) -> None: ...
    def lanes_exhausted(self, history: str) -> None: ...


class Supervisor:
    """Starts lanes, replaces those that die, stops them all."""

    def __init__(
        self,
        owner: Owner,
        processes: Processes,
        restarts: RestartIntensity,
        watcher: Watcher,
        starter: Starter,
        figures: Figures,
    ) -> None:
        self._owner = owner
        self._processes = processes
        self._restarts = restarts
        self._watcher = watcher
        self._starter = starter
        self._figures = figures
        self._generations: dict[int, int] = {}
        self._stopped: Callable[[], None] | None = None
        self._retired = self._exiting = False
        self._last_exit = ""
        self.lanes: list[Lane] = []

    def man(self, places: int) -> None:
        """Start a lane for each place."""
        for place in range(places):
            self._figures.workers.append(WorkerTime())
            self._start(place)

    def became_ready(self, lane: Lane) -> None:
        """The worker of *lane* has opened its consumers."""
        lane.ready = True
        lane.message_done()
        self._figures.workers[lane.place].ready_at = monotonic()

    def ended(self, lane: Lane, exitcode: int | None) -> None:
        """A worker is gone. Replace it, unless it was meant to go."""
        if self._exiting:
            return  # multiprocessing joins its processes now; they must not be closed under it
        self.lanes.remove(lane)
        self._note_lifetime(lane)
        gone = exitcode == SERVER_GONE
        explained = gone or lane.killed
        if not lane.closing:
            self._note_death(lane, exitcode, gone)
        charged = None if explained or lane.closing else lane.running()
        self._owner.lane_lost(lane, charged, exitcode)
        self._starter.do(lane.discard)
        self._replace(lane, fruitless=not (lane.settled or explained))

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills and wait for the exits; after *timeout* seconds terminate, then kill."""
        self._stopped = stopped
        for lane in self.lanes:
            lane.closing = True
            self._let_go(lane)
        self._watcher.call_later(timeout, self._terminate)
        self._finish_if_empty()

    def kill_all(self) -> None:
        """End every worker at once, for good; what they ran is nobody's fault."""
        self._retired = True
        self._processes.kill_server()
        for lane in self.lanes:
            lane.killed = True
            lane.kill()

    def exit_now(self) -> None:
        """The interpreter exits, with the loop perhaps still running in another thread."""
        self._exiting = True
        self.kill_all()

    def _start(self, place: int) -> None:
        generation = self._generations[place] = self._generations.get(place, -1) + 1
        lane = Lane(place, generation)
        siblings = list(self.lanes)
        self.lanes.append(lane)

        def start() -> None:
            try:
                lane.start(self._processes, siblings)
            except Exception as error:
                failure = error
                self._owner.call_in_loop(lambda: self._start_failed(lane, failure))
            else:
                self._owner.call_in_loop(lambda: self._started(lane))

        if self._processes.method == "fork":
            # A fork copies every lock as it is. Most are taken in the loop's thread (imports,
            # cloudpickle's class register), so it must be this thread that forks, now and not
            # in the middle of something. It lives as long as the pool, too.
            start()
        else:
            self._starter.do(start)

    def _started(self, lane: Lane) -> None:
        self._figures.started += 1
        logger.debug("Worker %s started, pid %s", lane.name, lane.pid)
        self._watcher.add(lane)
        if self._stopped is not None:
            self._let_go(lane)
            return
        setup = self._owner.make_setup()
        lane.known.update(definition.number for definition in setup.definitions)
        lane.send(setup)
        # Weakly: a lane that was discarded meanwhile must not live on in the timer.
        alive = weakref.ref(lane)
        self._watcher.call_later(BOOT_SECONDS, lambda: self._kill_unless_ready(alive()))

    def _start_failed(self, lane: Lane, error: Exception) -> None:
        logger.error("Worker %s could not be started: %r", lane.name, error)
        self._last_exit = f"{lane.name} could not be started: {error!r}"
        self.lanes.remove(lane)
        self._starter.do(lane.discard)
        self._replace(lane, fruitless=True)

    def _replace(self, lane: Lane, fruitless: bool) -> None:
        if self._stopped is not None:
            self._finish_if_empty()
        elif self._retired:
            return
        elif not fruitless or self._restarts.allows(monotonic()):
            self._start(lane.place)
        else:
            self._retired = True
            self._owner.lanes_exhausted(
                f"{self._restarts.intensity + 1} workers died within {self._restarts.period:g} s "
                f"before they settled anything; the last: {self._last_exit}"
            )

    def _kill_unless_ready(self, lane: Lane | None) -> None:
        if lane is not None and lane in self.lanes and not lane.ready:
            logger.error(
                "Worker %s was not ready after %.0f s and is killed", lane.name, BOOT_SECONDS
            )
            lane.kill()

    def _let_go(self, lane: Lane) -> None:
        if lane.ready:
            lane.send(POISON_PILL)
        else:
            # Nothing is open in it that would have to be closed; nobody waits for its boot.
            lane.kill()

    def _terminate(self) -> None:
        for lane in self.lanes:
            logger.warning("Worker %s did not end in time and is terminated", lane.name)
            lane.kill(signal.SIGTERM)
        if self.lanes:
            self._watcher.call_later(GRACE_SECONDS, self.kill_all)

    def _finish_if_empty(self) -> None:
        if not self.lanes and self._stopped is not None:
            stopped, self._stopped = self._stopped, lambda: None
            stopped()

    def _note_lifetime(self, lane: Lane) -> None:
        worker = self._figures.workers[lane.place]
        if lane.ready:
            worker.manned, worker.ready_at = worker.lived(monotonic()), None

    def _note_death(self, lane: Lane, exitcode: int | None, server_gone: bool) -> None:
        code = None if server_gone else exitcode
        self._figures.deaths[exit_label(code)] += 1
        words = "went with its fork server" if server_gone else exit_in_words(exitcode)
        self._last_exit = f"{lane.name} (pid {lane.pid}) {words}"
        level = logging.DEBUG if self._stopped is not None else logging.WARNING
        logger.log(level, "Worker %s (pid %s) %s; replacing it", lane.name, lane.pid, words)
