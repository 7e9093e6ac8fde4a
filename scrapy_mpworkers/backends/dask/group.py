"""The workers of one level on a Dask cluster. All here runs in the crawl's thread.

A worker here is a thread in a worker process of Dask, which starts processes again and takes them
away: our workers come and go with them, and the crawl's task queue says what runs again.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from time import monotonic

from scrapy_mpworkers.backends.dask.assignment import next_assignment
from scrapy_mpworkers.backends.dask.cluster import in_words
from scrapy_mpworkers.backends.dask.connection import Connection
from scrapy_mpworkers.backends.dask.worker_handle import DaskHandle, HandleState
from scrapy_mpworkers.errors import exit_label
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import Death, Loop, PoolOptions
from scrapy_mpworkers.pool.metrics import WorkerTime
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.sharing import RETRY_SECONDS
from scrapy_mpworkers.pool.stacks import Answers
from scrapy_mpworkers.pool.task import Future
from scrapy_mpworkers.pool.worker_state import KilledFor
from scrapy_mpworkers.wire.messages import (
    Answer,
    Closed,
    Ending,
    Opened,
    OpenFailed,
    Outcomes,
    Report,
)

logger = logging.getLogger(__name__)

#: Seconds without any worker, or with none that has opened the pipelines, until that is the end.
BOOT_SECONDS = 300.0
#: Seconds within which a worker that was killed has left the cluster.
DEATH_SECONDS = 30.0


class DaskWorkerGroup:
    """Workers on a cluster, for one level of a crawl.

    Args:
        options: ``workers`` is how many slots there are at most, 0: one for each worker process.
        names: what the tasks of a hop are called, by its number.
    """

    def __init__(
        self, options: PoolOptions, connection: Connection, names: Mapping[int, str], loop: Loop
    ) -> None:
        self.task_ids: Iterator[int] = itertools.count()
        self.handles: list[DaskHandle] = []
        self.is_shared = False
        self.is_watching = True  # the scheduler removes a worker that is stuck
        self._options = options
        self.runs_as_one = options.batched is not None
        self.connection = connection
        self.names = names
        self.loop = loop
        self._restarts = RestartIntensity(options.intensity, options.period)
        self._admitted: PoolExecutor | None = None
        self._generations: Counter[int] = Counter()
        self._is_ending = False
        self._has_opened = False  # in any worker: until then one of them is tried at a time
        self._idle_since = monotonic()  # of use only while no worker is open
        self._left: Callable[[], None] | None = None

    @property
    def executor(self) -> PoolExecutor:
        assert self._admitted is not None, "no crawl has come yet"
        return self._admitted

    def admit(self, crawl: int, executor: PoolExecutor) -> None:
        """Have the crawl's consumers opened by all workers, those included that come later."""
        self._admitted = executor
        logger.info("Connecting to %s…", self.connection.where)
        self.connection.subscribe(self, self.loop)
        self.loop.call_later(BOOT_SECONDS, self._look_for_workers)

    def leave(self, crawl: int, timeout: float, left: Callable[[], None], ending: Ending) -> None:
        """Close the consumers and leave; after *timeout* seconds, kill what is not closed."""
        logger.info("Leaving the cluster…")
        self._is_ending = True
        self._left = left
        for handle in list(self.handles):
            if not handle.has_opened:
                self._let_go(handle)
            elif not handle.is_closing:
                handle.close(ending)
        self.loop.call_later(timeout, self._leave_anyway)
        self.loop.call_soon(self._leave_if_empty)

    def kill(self, crawl: int) -> None:
        """Do not wait for the consumers' close; kill the workers that are at work."""
        self._is_ending = True
        for handle in list(self.handles):
            if handle.open_messages and not handle.is_killed:
                handle.kill_for(KilledFor.STOP)
            self._let_go(handle)

    def is_blocked(self, crawl: int) -> bool:
        return False  # there are no other crawls

    def stacks(self, timeout: float) -> Future:
        answers = Answers(self.loop, [handle.name for handle in self.handles], timeout)
        for handle in self.handles:
            handle.ask(timeout, partial(answers.add, handle.name))
        self.loop.call_later(timeout, answers.end)  # the connection may be lost meanwhile
        return answers.future

    def watch(self, crawl: int, handle: DaskHandle) -> None:
        """Watch a worker that has got tasks, for one that takes too long."""
        handle.watch()

    # What the connection tells: see ConnectionEvents

    def connected(self, workers: Collection[str]) -> None:
        count = len(workers)
        logger.info("Connected to %s, which has %d workers", self.connection.where, count)
        if not count:
            logger.warning("The cluster has no workers; %g s are left for one", BOOT_SECONDS)
        self._start_workers()

    def worker_came(self, address: str) -> None:
        self._start_workers()

    def worker_left(self, address: str, expected: bool) -> None:
        for handle in [handle for handle in self.handles if handle.address == address]:
            if handle.state is HandleState.GONE:
                return  # the loss of the one before has broken the pool
            if handle.is_closing and not expected and not handle.is_killed:
                logger.error(
                    "Worker %s is lost while it closed its pipelines: what they still held is lost",
                    handle.title,
                )
            elif not handle.is_closing:
                how = "has left the cluster" if expected else "is lost"
                log = logger.info if expected else logger.warning
                log("Worker %s %s; its items go to others", handle.title, how)
            self._lose(handle, expected or handle.is_killed)

    def lost(self, why: str) -> None:
        if self._is_ending and self.handles:
            logger.error("Nobody can tell whether the pipelines have been closed: %s", why)
        for handle in list(self.handles):
            self._let_go(handle)
        if not self._is_ending:
            self._break(f"there is no connection to the Dask cluster ({why})")

    def closed(self) -> None:
        logger.info("Left the cluster.")
        if self._left is not None:
            self._left()

    # What a worker tells: see HandleGroup

    def answered(
        self, handle: DaskHandle, number: int, answer: Answer | BaseException | None
    ) -> None:
        if not isinstance(answer, Answer):
            self._failed(handle, "its thread there is gone" if answer is None else in_words(answer))
            return
        for report, size in handle.reports_of(answer):
            self._heard(handle, report, size)
        handle.go_on(number, answer)

    def killed(self, handle: DaskHandle) -> None:
        def lose() -> None:
            if handle.state is not HandleState.GONE:
                self._lose(handle, explained=True)

        # If nothing is heard of its end, that is taken for granted.
        self.loop.call_later(DEATH_SECONDS, lose)

    def _heard(self, handle: DaskHandle, report: Report, size: int) -> None:
        executor = self.executor
        if isinstance(report, Outcomes):
            executor.on_outcomes(handle, report, size)
        elif isinstance(report, Opened):
            handle.opened()
            self._has_opened = True
            executor.opened(handle, report)
            self._start_workers()
        elif isinstance(report, OpenFailed):
            executor.open_failed(handle, report)
            self._lose(handle, explained=True, why="it could not open the pipelines")
        elif isinstance(report, Closed):
            executor.closed(handle, report)
            self._let_go(handle)

    def _failed(self, handle: DaskHandle, why: str) -> None:
        # A message was not answered. If the worker is gone, that is heard soon, and in order.
        if handle.address not in self.connection.workers or handle.is_killed:
            return
        if handle.is_closing:
            self._let_go(handle)
        else:
            logger.warning("Worker %s cannot be used: %s", handle.title, why)
            self._lose(handle, explained=True, why=why)

    # Workers come and go

    def _start_workers(self) -> None:
        """Fill each slot that a worker process can fill; only one, until that has opened."""
        while not self._is_ending and (self._has_opened or not self.handles):
            taken = {handle.slot: handle.address for handle in self.handles}
            connection, options = self.connection, self._options
            found = next_assignment(
                taken, connection.workers, connection.threads, options.workers, options.keyed
            )
            if found is None:
                return
            self._start_worker(*found)

    def _start_worker(self, slot: int, address: str) -> None:
        generation = self._generations[slot]
        self._generations[slot] += 1
        executor = self.executor
        handle = DaskHandle(self._options.name, slot, generation, address, self)
        metrics = executor.metrics
        metrics.started += 1
        metrics.workers += [WorkerTime() for _ in range(slot + 1 - len(metrics.workers))]
        self.handles.append(handle)
        executor.workers_changed(len(self.handles))
        handle.open(executor.setup())

    def _let_go(self, handle: DaskHandle) -> None:
        handle.leave()
        self.handles.remove(handle)
        if not any(other.has_opened for other in self.handles):
            self._idle_since = monotonic()
        if handle.has_opened and not any(other.slot == handle.slot for other in self.handles):
            self.executor.not_ready(handle.slot)
        self._leave_if_empty()

    def _lose(self, handle: DaskHandle, explained: bool, why: str = "") -> None:
        """Let go of a worker that is gone, and say what becomes of its tasks."""
        self._let_go(handle)
        if not explained:
            self.executor.died(handle, exit_label(None), "is lost")
        is_blamed = handle.killed_for is KilledFor.STUCK or (not explained and handle.has_opened)
        oldest = next(self.executor.leases(handle), None) if is_blamed else None
        blamed = None if oldest is None else oldest.id
        self.executor.handle_lost(handle, Death(None, "is lost", blamed))
        is_fruitless = not handle.settled and (bool(why) or not explained)
        reports = self.executor.metrics.reports
        is_allowed = not is_fruitless or self._restarts.allows(monotonic(), blamed, reports)
        if not is_allowed and not self._is_ending:
            self._break(
                f"{self._restarts.deaths} workers were lost within "
                f"{self._restarts.period:g} s before they settled anything; the last: "
                f"{handle.title}{', ' + why if why else ''}"
            )
        self.loop.call_later(RETRY_SECONDS if why else 0.0, self._start_workers)

    def _look_for_workers(self) -> None:
        """Look whether anybody works for the crawl, again and again until its end."""
        if self._is_ending:
            return
        is_busy = any(handle.has_opened for handle in self.handles)
        idle = 0.0 if is_busy else monotonic() - self._idle_since
        if idle >= BOOT_SECONDS:
            what = "has opened the pipelines" if self.handles else "was there"
            self._break(f"no worker of {self.connection.where} {what} for {idle:.0f} s")
            return
        self.loop.call_later(max(1.0, BOOT_SECONDS - idle), self._look_for_workers)

    def _break(self, history: str) -> None:
        self._is_ending = True
        for handle in list(self.handles):
            self._let_go(handle)
        self.executor.break_off(
            history,
            "Look at the logs of the Dask cluster, or run in one process to see a pipeline's own "
            "error: -s MPWORKERS_WORKERS=0",
        )

    # End

    def _leave_anyway(self) -> None:
        for handle in list(self.handles):
            logger.warning("Worker %s did not close in time and is killed", handle.title)
            handle.kill_for(KilledFor.STOP)
            self._let_go(handle)

    def _leave_if_empty(self) -> None:
        if self._left is not None and not self.handles:
            self.connection.unsubscribe(self)
