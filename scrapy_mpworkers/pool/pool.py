"""The pool: tasks in, outcomes out. Everything here runs in the event loop's thread.

Nothing waits. What takes long happens in the starter, and comes back as a call.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import util
from time import monotonic
from typing import Any

from scrapy_mpworkers.errors import (
    ItemTimeout,
    MPWorkersError,
    PoolBroken,
    WorkerDied,
)
from scrapy_mpworkers.pool.books import Books
from scrapy_mpworkers.pool.figures import Figures
from scrapy_mpworkers.pool.interface import (
    GivenUp,
    Loop,
    PoolEvents,
    PoolOptions,
    Settle,
    Why,
    because_stopped,
)
from scrapy_mpworkers.pool.lane import Lane
from scrapy_mpworkers.pool.ledger import Entry
from scrapy_mpworkers.pool.limits import StuckLanes, TimeLimit
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.pool.recycling import Recycling
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.supervisor import Death, Supervisor
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.wire.large import Large
from scrapy_mpworkers.wire.messages import (
    BootFailed,
    Closed,
    Fate,
    Outcome,
    Outcomes,
    Ready,
    Report,
    Setup,
)

logger = logging.getLogger(__name__)


class Pool:
    """Worker processes that settle tasks.

    Args:
        options: sizes and limits.
        processes: makes the worker processes.
        make_setup: called for each new lane: what its worker must know.
        blobs: definitions by number, as tasks refer to them.
        events: told what is not the business of a single task.
        loop: the event loop, in whose thread all methods are called.
    """

    def __init__(
        self,
        options: PoolOptions,
        processes: Processes,
        make_setup: Callable[[], Setup],
        blobs: Mapping[int, bytes],
        events: PoolEvents,
        loop: Loop,
    ) -> None:
        self.figures = Figures()
        self.loop = loop
        self.make_setup = make_setup
        self.settled_at = monotonic()
        self._options = options
        self._processes = processes
        self._blobs = blobs
        self._events = events
        self._callbacks: dict[int, Settle] = {}
        self._ids = itertools.count()
        self._opened = self._closed = self._stopping = False
        self._given_up: Why | None = None

    def start(self) -> None:
        """Start threads and workers; ``events.opened`` follows."""
        options = self._options
        self._starter = Starter()
        self._watcher = Watcher(
            self.loop, self._on_report, lambda *end: self._supervisor.ended(*end)
        )
        self._restarts = RestartIntensity(options.intensity, options.period)
        self._supervisor = Supervisor(
            self,
            self._processes,
            self._restarts,
            self._watcher,
            self._starter,
            self.figures,
            options.name,
        )
        self._recycling = Recycling(options.max_items, options.memory_limit)
        self._books = Books(
            options, self._blobs, self._supervisor.open_lanes, self._watch_time, self.loop
        )
        self._time_limit = TimeLimit(self._books.leases, self._books.entry, self.loop.call_later)
        self._stuck = StuckLanes(
            lambda: self._supervisor.lanes,
            self._books.leases,
            self._watcher.hear,
            self.loop.call_later,
        )
        # Before multiprocessing's own exit handler, which terminates and *joins*: a busy worker
        # would keep an interrupted crawl waiting.
        self._at_exit = util.Finalize(None, self._supervisor.exit_now, exitpriority=100)
        logger.info("Starting %d workers (%s)…", options.workers, self._processes.method)
        self._supervisor.man(options.workers)

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        return len(self._callbacks)

    def workers(self) -> tuple[int, int]:
        """How many workers are busy, of how many that are ready."""
        ready = self._supervisor.open_lanes()
        return sum(lane.has_work for lane in ready), len(ready)

    def overdue(self) -> list[tuple[int, str, float]]:
        """The tasks that workers hold: id, worker, seconds since they got it."""
        now = monotonic()
        return [
            (entry.id, lane.name, now - entry.leased_at)
            for lane in self._supervisor.lanes
            for entry in self._books.leases(lane)
        ]

    def submit(
        self,
        hop: int,
        frame: bytes | Large,
        needs: tuple[int, ...],
        settle: Settle,
        results: tuple[bytes, ...] = (),
        key: Any = None,
        limit: float | None = None,
    ) -> int:
        """Take a task.

        Args:
            hop, frame, results: of the :class:`Task`.
            needs: the definitions that the frame refers to.
            settle: is called once, in this thread, never from within this call.
            key: what shares it meets the same worker, if the pool is keyed.
            limit: seconds that it may take, if not those of the options.

        Returns:
            the id of the task.
        """
        task_id = next(self._ids)
        self.figures.of(hop).submitted += 1
        self._callbacks[task_id] = settle
        seconds = self._options.item_timeout if limit is None else limit
        if seconds:
            self._time_limit.is_used = True
        entry = Entry(task_id, (task_id, hop, frame, results), needs, monotonic(), seconds)
        if self._given_up is not None:
            late = self._given_up(None)
            self.loop.call_soon(lambda: self._give_up(entry, late, None))
            return task_id
        self.figures.bytes_shipped += len(frame) + (sum(map(len, results)) if results else 0)
        self._books.add(entry, key)
        return task_id

    def withdraw(self, task_id: int) -> None:
        """Nobody waits for a task any more. If no worker has it yet, none will get it."""
        entry = self._books.withdraw(task_id)
        if entry is not None:
            self.figures.of(entry.hop).cancelled += 1
            self._callbacks.pop(task_id)

    def flush(self) -> None:
        """What waits for others to go with goes soon without them."""
        self._books.flush()

    def hurry(self) -> None:
        """From now on nothing waits for others to go with."""
        self._books.hurry()

    def give_up(self, why: Why) -> None:
        """Settle every pending task with the error that *why* makes, and every later one too."""
        self._given_up = why
        holders = {n: worker for n, worker, _ in self.overdue()} if self._books.pending else {}
        for entry in self._books.clear():
            worker = holders.get(entry.id)
            self._give_up(entry, why(worker), worker)

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills, join, release everything. After *timeout* seconds: terminate, kill.

        Tasks that are still pending are given up.
        """
        logger.info("Stopping workers…")
        self._stopping = True
        self.give_up(self._given_up or because_stopped)

        def all_ended() -> None:
            self._starter.do(release)
            self._starter.end()

        def release() -> None:
            # In the starter's thread.
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
            self.loop.call_from_thread(function)

    def lane_lost(self, lane: Lane, death: Death) -> None:
        """The books of a lane that is gone."""
        dispatcher = self._books.of(lane)
        ledger, charged = dispatcher.ledger, death.charged
        if ledger.accomplices(lane, lane.overdue):
            charged = lane.overdue  # which of those that ran as one took too long?
        elif lane.overdue is not None:
            # If the item made it in time after all, its outcome has come, and stands.
            late = ledger.settle(lane, lane.overdue)
            if late is not None:
                self._give_up(late, ItemTimeout(lane.title, late.limit), lane.name)
        lost = ledger.lose(lane, charged, self._options.redeliver_times)
        self.figures.redelivered += lost.redelivered
        if lost.given_up is not None:
            deaths = lost.given_up.deaths
            error = WorkerDied(lane.title, deaths, death.exitcode, death.out_of_memory)
            # A poison task that is out of the way is progress, too.
            self._restarts.progress()
            self._give_up(lost.given_up, error, lane.name)
        dispatcher.soon()

    def lanes_exhausted(self, history: str) -> None:
        """Workers die without any progress: the pool is broken."""
        error = PoolBroken(
            f"the worker pool is broken: {history}. Look for the first error of a worker in the "
            "log, or run in one process to see it: -s MPWORKERS_WORKERS=0"
        )
        logger.error("%s", error)
        self.give_up(lambda worker: error)
        self._supervisor.kill_all()
        self._events.broken(error)

    # Events

    def _on_report(self, lane: Lane, report: Report, size: int) -> None:
        if isinstance(report, Outcomes):
            self.figures.bytes_returned += size
            self._on_outcomes(lane, report.outcomes)
            if (why := self._recycling.reason(lane)) is not None:
                self._supervisor.recycle(lane, why)
        elif isinstance(report, Ready):
            self._on_ready(lane, report.effects)
        elif isinstance(report, BootFailed):
            self._events.boot_failed(lane.name, report.failure)
        elif isinstance(report, Closed):
            lane.closed = True
            # A recycled worker is silent: it is not the crawl that closes.
            speaks = self._stopping and not self._closed
            self._closed = self._closed or speaks
            self._events.closed(lane.name, report.effects, report.failure, speaks)

    def _on_ready(self, lane: Lane, effects: bytes | None) -> None:
        self._supervisor.became_ready(lane)
        self._recycling.weigh_new(lane)
        speaks, self._opened = not self._opened, True
        self._events.opened(effects, speaks)
        self._books.of(lane).soon()

    def _on_outcomes(self, lane: Lane, outcomes: Sequence[Outcome]) -> None:
        times = [outcome.seconds for outcome in outcomes]
        seconds = sum(times)
        self.figures.workers[lane.place].busy += seconds
        dispatcher = self._books.of(lane)
        dispatcher.took(seconds, len(outcomes))
        self._restarts.progress()
        waits: list[float] = []
        for outcome in outcomes:
            entry = dispatcher.ledger.settle(lane, outcome.task_id)
            if entry is None:
                continue  # given up meanwhile
            assert entry.message is not None
            if not entry.message.unsettled:
                lane.message_done()
            waits.append(lane.heard_at - entry.submitted_at - outcome.seconds)
            self._settle(entry, outcome.fate, outcome)
        lane.settled += len(waits)
        self.figures.service.extend(times)
        self.figures.wait.extend(waits)
        dispatcher.soon()

    def _give_up(self, entry: Entry, error: MPWorkersError, worker: str | None) -> None:
        given_up = GivenUp(error, entry.attempts, entry.deaths, worker)
        self._settle(entry, Fate.DEAD_LETTERED, given_up)

    def _settle(self, entry: Entry, fate: int, outcome: Outcome | GivenUp) -> None:
        self.settled_at = monotonic()
        self.figures.of(entry.hop).settled[fate] += 1
        settle = self._callbacks.pop(entry.id)
        try:
            settle(outcome)
        except Exception:
            logger.exception("Settling a task failed")

    def _watch_time(self, lane: Lane) -> None:
        self._time_limit.watch(lane)
        self._stuck.watch()
