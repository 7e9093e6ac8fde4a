"""The pool: tasks in, outcomes out. Everything here runs in the event loop's thread.

Nothing waits. What takes long happens in the starter and the watcher, and comes back as a call
through the injected ``call_in_loop``.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from time import monotonic
from typing import Any

from scrapy_mpworkers.errors import MPWorkersError, PoolBroken, PoolClosed, WorkerDied
from scrapy_mpworkers.pool.batching import ServiceTime, plan
from scrapy_mpworkers.pool.figures import Figures
from scrapy_mpworkers.pool.lane import Lane
from scrapy_mpworkers.pool.ledger import Entry, Ledger
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.supervisor import Supervisor
from scrapy_mpworkers.pool.watcher import Due, Ended, Event, Reported, Watcher
from scrapy_mpworkers.wire.messages import (
    Batch,
    BootFailed,
    Closed,
    Definition,
    Fate,
    Outcome,
    Outcomes,
    Ready,
    Setup,
    Task,
)

logger = logging.getLogger(__name__)

#: Seconds after which a lane that has not taken up its lease, with an idle dial, counts as stuck
#: (stopped by SIGSTOP, for one). It is killed, and its leases go elsewhere uncharged.
STUCK_SECONDS = 10.0


@dataclass(frozen=True)
class GivenUp:
    """A task that the pool has given up, in the place of an Outcome.

    ``attempts``: how often it was leased; ``deaths``: how many workers died while they ran it;
    ``worker``: the last one that had it, ``None`` if it never left.
    """

    error: MPWorkersError
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None


#: Called once for each task.
Settle = Callable[["Outcome | GivenUp"], None]


@dataclass(frozen=True)
class PoolOptions:
    """What a pool is made of. ``redeliver_times``, ``intensity``: counts; ``period``: seconds."""

    workers: int
    redeliver_times: int
    intensity: int
    period: float


class PoolEvents:
    """What a pool tells its owner. Every method may be overridden; effects are opaque bytes."""

    def opened(self, effects: bytes | None, speaks: bool) -> None:
        """A worker has opened its consumers. Only the first one *speaks* for all."""

    def boot_failed(self, worker: str, failure: bytes) -> None:
        """A worker could not open its consumers."""

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, speaks: bool
    ) -> None:
        """A worker has closed its consumers, or failed to. Only the first one *speaks* for all."""

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up; so are all tasks."""


class Pool:
    """Worker processes that settle tasks.

    Args:
        options: sizes and limits.
        processes: makes the worker processes.
        make_setup: called for each new lane: what its worker must know.
        blobs: definitions by number, as tasks refer to them.
        events: told what is not the business of a single task.
        call_in_loop: runs a function in the loop's thread soon; may be called from any thread.
    """

    def __init__(
        self,
        options: PoolOptions,
        processes: Processes,
        make_setup: Callable[[], Setup],
        blobs: Mapping[int, bytes],
        events: PoolEvents,
        call_in_loop: Callable[[Callable[[], None]], None],
    ) -> None:
        self.figures = Figures()
        self.make_setup = make_setup
        self._options = options
        self._processes = processes
        self._blobs = blobs
        self._events = events
        self._call_in_loop = call_in_loop
        self._ledger = Ledger()
        self._callbacks: dict[int, Settle] = {}
        self._ids = itertools.count()
        self._service = ServiceTime()
        self._dispatching = self._checking = False
        self._opened = self._closed = False
        self._error: MPWorkersError | None = None
        self.settled_at = monotonic()

    def start(self) -> None:
        """Start threads and workers; ``events.ready`` follows."""
        self._starter = Starter()
        self._watcher = Watcher(lambda events: self.call_in_loop(lambda: self._on_events(events)))
        restarts = RestartIntensity(self._options.intensity, self._options.period)
        self._restarts = restarts
        self._supervisor = Supervisor(
            self,
            self._processes,
            restarts,
            self._watcher,
            self._starter,
            self.figures,
        )
        # Before multiprocessing's own exit handler, which terminates and *joins*: a busy worker
        # would keep an interrupted crawl waiting.
        self._at_exit = util.Finalize(None, self._supervisor.exit_now, exitpriority=100)
        logger.info("Starting %d workers (%s)…", self._options.workers, self._processes.method)
        self._supervisor.man(self._options.workers)

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        return len(self._callbacks)

    def workers(self) -> tuple[int, int]:
        """How many workers are busy, of how many that are ready."""
        ready = [lane for lane in self._supervisor.lanes if lane.ready]
        return sum(self._ledger.open_messages(lane) > 0 for lane in ready), len(ready)

    def overdue(self) -> list[tuple[int, str, float]]:
        """The tasks that workers hold: id, worker, seconds since they got it."""
        now = monotonic()
        return [
            (entry.task.id, lane.name, now - entry.leased_at)
            for lane in self._supervisor.lanes
            for entry in self._ledger.leases(lane)
        ]

    def submit(self, hop: int, frame: bytes, needs: tuple[int, ...], settle: Settle) -> int:
        """Take a task. *settle* is called once, in this thread, never from within this call.

        Returns:
            the id of the task.
        """
        task = Task(next(self._ids), hop, frame)
        self.figures.submitted += 1
        self._callbacks[task.id] = settle
        if self._error is not None:
            self.call_in_loop(lambda: self._settle_given_up(task.id))
            return task.id
        self.figures.bytes_shipped += len(frame)
        self._ledger.add(Entry(task, needs, monotonic()))
        self._dispatch_soon()
        return task.id

    def give_up(self, error: MPWorkersError) -> None:
        """Settle every pending task with *error*, and every later one too."""
        self._error = error
        for entry in self._ledger.clear():
            self._settle_given_up(entry.task.id)

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills, join, release everything. After *timeout* seconds: terminate, kill.

        Tasks that are still pending are given up.
        """
        logger.info("Stopping workers…")
        self.give_up(self._error or PoolClosed("the workers have been stopped"))

        def all_ended() -> None:
            self._starter.do(release)
            self._starter.end()

        def release() -> None:
            # In the starter's thread.
            self._watcher.stop()
            self._processes.close()
            self._at_exit.cancel()
            self.call_in_loop(done)

        def done() -> None:
            logger.info("Workers stopped.")
            stopped()

        self._supervisor.stop(timeout, all_ended)

    def kill(self) -> None:
        """End all workers at once, also those that are still starting."""
        self._supervisor.kill_all()

    # What the supervisor needs of its owner

    def call_in_loop(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread; nothing if the loop is already closed."""
        with suppress(RuntimeError):
            self._call_in_loop(function)

    def lane_lost(self, lane: Lane, charged: int | None, exitcode: int | None) -> None:
        """The books of a lane that is gone."""
        lost = self._ledger.lose(lane, charged, self._options.redeliver_times)
        self.figures.redelivered += lost.redelivered
        if lost.given_up is not None:
            entry = lost.given_up
            error = WorkerDied(f"{lane.name} (pid {lane.pid})", entry.deaths, exitcode)
            # A poison task that is out of the way is progress, too.
            self._restarts.progress()
            self._settle(entry.task.id, Fate.DEAD_LETTERED, GivenUp(error))
        self._dispatch_soon()

    def lanes_exhausted(self, history: str) -> None:
        """Workers die without any progress: the pool is broken."""
        error = PoolBroken(
            f"the worker pool is broken: {history}. Look for the first error of a worker in the "
            "log, or run in one process to see it: -s MPWORKERS_WORKERS=0"
        )
        logger.error("%s", error)
        self.give_up(error)
        self._supervisor.kill_all()
        self._events.broken(error)

    # Events

    def _on_events(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Reported):
                self._on_report(event.lane, event.report, event.size)
            elif isinstance(event, Ended):
                self._supervisor.ended(event.lane, event.exitcode)
            elif isinstance(event, Due):
                event.callback()

    def _on_report(self, lane: Lane, report: Any, size: int) -> None:
        lane.heard_at = monotonic()
        if isinstance(report, Outcomes):
            self.figures.bytes_returned += size
            for outcome in report.outcomes:
                self._on_outcome(lane, outcome)
            self._dispatch_soon()
        elif isinstance(report, Ready):
            self._on_ready(lane, report.effects)
        elif isinstance(report, BootFailed):
            self._events.boot_failed(lane.name, report.failure)
        elif isinstance(report, Closed):
            speaks, self._closed = not self._closed, True
            self._events.closed(lane.name, report.effects, report.failure, speaks)

    def _on_ready(self, lane: Lane, effects: bytes | None) -> None:
        self._supervisor.became_ready(lane)
        speaks, self._opened = not self._opened, True
        self._events.opened(effects, speaks)
        self._dispatch_soon()

    def _on_outcome(self, lane: Lane, outcome: Outcome) -> None:
        self.figures.workers[lane.place].busy += outcome.seconds
        self._service.add(outcome.seconds)
        settled = self._ledger.settle(lane, outcome.task_id)
        if settled is None:
            return  # given up meanwhile
        lane.settled += 1
        self._restarts.progress()
        if settled.closes_message:
            lane.message_done()
        total = monotonic() - settled.entry.submitted_at
        self.figures.wait.add(max(0.0, total - outcome.seconds))
        self.figures.service.add(outcome.seconds)
        self._settle(outcome.task_id, Fate(outcome.fate), outcome)

    def _settle_given_up(self, task_id: int) -> None:
        assert self._error is not None
        self._settle(task_id, Fate.DEAD_LETTERED, GivenUp(self._error))

    def _settle(self, task_id: int, fate: Fate, outcome: Outcome | GivenUp) -> None:
        self.settled_at = monotonic()
        self.figures.settled[fate] += 1
        settle = self._callbacks.pop(task_id)
        try:
            settle(outcome)
        except Exception:
            logger.exception("Settling a task failed")

    # Dispatch

    def _dispatch_soon(self) -> None:
        # Tasks submitted in one turn of the loop travel together.
        if not self._dispatching:
            self._dispatching = True
            self.call_in_loop(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        lanes = [lane for lane in self._supervisor.lanes if lane.ready and not lane.closing]
        loads = [self._ledger.open_messages(lane) for lane in lanes]
        for index, count in plan(self._ledger.waiting, loads, self._service.seconds):
            self._lease(lanes[index], count)
        if self._callbacks and not self._checking:
            self._checking = True
            self._watcher.call_later(STUCK_SECONDS / 2, self._check_stuck)

    def _lease(self, lane: Lane, count: int) -> None:
        entries = self._ledger.lease(lane, count, monotonic())
        if not entries:
            return
        missing = {n for entry in entries for n in entry.needs} - lane.known
        lane.known |= missing
        definitions = tuple(Definition(n, self._blobs[n]) for n in sorted(missing))
        lane.send(Batch(definitions, tuple(entry.task for entry in entries)))

    def _check_stuck(self) -> None:
        self._checking = False
        now = monotonic()
        for lane in self._supervisor.lanes:
            oldest = next(self._ledger.leases(lane), None)
            if oldest is None or lane.running() is not None or lane.killed:
                continue
            if now - max(oldest.leased_at, lane.heard_at) > STUCK_SECONDS:
                logger.warning("Worker %s does not take up its work and is killed", lane.name)
                lane.killed = True
                lane.kill()
        if self._callbacks:
            self._dispatch_soon()
