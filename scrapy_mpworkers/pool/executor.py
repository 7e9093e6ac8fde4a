"""One crawl in a pool: its tasks in, their outcomes out. All here runs in the event loop's thread.

Several crawls may share the workers of a pool. What is a crawl's own is here: its books, its
figures, what it is told. Nothing waits.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from scrapy_mpworkers.errors import ItemTimeout, MPWorkersError, PoolBroken, WorkerDied
from scrapy_mpworkers.pool.books import Books
from scrapy_mpworkers.pool.interface import (
    DeadLettered,
    Death,
    Loop,
    Parcel,
    PoolEvents,
    PoolOptions,
    Settle,
    Why,
    WorkerGroup,
    WorkerHandle,
    because_stopped,
)
from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.pool.task_queue import Entry
from scrapy_mpworkers.wire.messages import (
    Closed,
    OpenCrawl,
    Opened,
    OpenFailed,
    Outcome,
    TaskStatus,
)

logger = logging.getLogger(__name__)


class PoolExecutor:
    """A crawl's share of a pool: it settles tasks.

    Args:
        find_pool: called at the start: the pool to join.
        options: what that pool is made of.
        make_setup: called for each lane with the crawl's number: what the worker must know.
        blobs: definitions by number, as tasks refer to them.
        events: told what is not the business of a single task.
        loop: the crawl's event loop, in whose thread all methods are called.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        find_pool: Callable[[], WorkerGroup],
        options: PoolOptions,
        make_setup: Callable[[int], OpenCrawl],
        blobs: Mapping[int, bytes],
        events: PoolEvents,
        loop: Loop,
    ) -> None:
        self.metrics = Metrics(workers=[WorkerTime() for _ in range(options.workers)])
        self._settled_at = monotonic()
        self._make_setup = make_setup
        self._first_setup: OpenCrawl | None = None
        self._crawl = next(self._numbers)  # by which messages tell crawls apart
        self._find_pool = find_pool
        self._options = options
        self._blobs = blobs
        self._events = events
        self._loop = loop
        self._opened = self._closed = self._stopping = False
        self._given_up: Why | None = None

    def start(self) -> None:
        """Join the pool; ``events.opened`` follows.

        Raises:
            Exception: what the first Setup costs to make. None of a later lane should fail then.
        """
        self._first_setup = self._make_setup(self._crawl)
        self._pool = pool = self._find_pool()
        self._books = Books(
            self._options,
            self._crawl,
            self._blobs,
            lambda: list(self._open_handles()),
            lambda: pool.is_shared,
            self._watch_time,
            self._loop,
        )
        self._time_limit = pool.time_limit(self._books.leases, self._books.entry)
        pool.admit(self._crawl, self)

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        return self._books.pending

    @property
    def settled_at(self) -> float:
        """When a task was settled, or at least could not be, since all workers were at consumers of
        other crawls; ``time.monotonic()``."""
        if self._pool.is_blocked(self._crawl):
            self._settled_at = monotonic()
        return self._settled_at

    def workers(self) -> tuple[int, int]:
        """How many workers are busy with this crawl, of how many that are ready."""
        ready = self._open_handles()
        busy = sum(self._books.of(handle).task_queue.open_messages(handle) > 0 for handle in ready)
        return busy, len(ready)

    def overdue(self) -> list[tuple[int, str, float]]:
        """The tasks that workers hold: id, worker, seconds since they got it."""
        now = monotonic()
        return [
            (entry.id, handle.name, now - entry.leased_at)
            for handle in self._pool.handles
            for entry in self._books.leases(handle)
        ]

    def submit(
        self,
        hop: int,
        parcel: Parcel,
        settle: Settle,
        key: Any = None,
        limit: float | None = None,
    ) -> int:
        """Take a task.

        Args:
            hop: where it goes.
            parcel: what crosses.
            settle: is called once, in this thread, never from within this call.
            key: what shares it meets the same worker, if the pool is keyed.
            limit: seconds that it may take, if not those of the options.

        Returns:
            the id of the task.
        """
        task_id = next(self._pool.task_ids)
        metrics = self.metrics
        (metrics.items if hop >= 0 else metrics.calls).submitted += 1
        seconds = self._options.item_timeout if limit is None else limit
        if seconds:
            self._time_limit.is_used = True
        frame, needs, _ = parcel.frame
        row = task_id, hop, frame, parcel.results
        entry = Entry(task_id, row, needs, settle, parcel.size, monotonic(), seconds)
        if self._given_up is not None:
            late = self._given_up(None)
            self._loop.call_soon(lambda: self._give_up(entry, late, None))
            return task_id
        metrics.bytes_shipped += entry.size
        self._books.add(entry, key)
        return task_id

    def withdraw(self, task_id: int) -> None:
        """Nobody waits for a task any more. If no worker has it yet, none will get it."""
        entry = self._books.withdraw(task_id)
        if entry is not None:
            self.metrics.of(entry.hop).cancelled += 1

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
        """Leave the pool. The last crawl to leave stops it: pills, join; terminate, kill.

        Tasks that are still pending are given up.

        Args:
            timeout: seconds after which workers that have not closed the crawl's consumers are
                terminated.
            stopped: called when they are closed, and with the last crawl when all has ended.
        """
        self._stopping = True
        self.give_up(self._given_up or because_stopped)
        self._pool.leave(self._crawl, timeout, stopped)

    def kill(self) -> None:
        """Give up every task, and end the workers at once, or those of them that are at one of
        these tasks if other crawls have them, too. Then :meth:`stop` waits for nothing else."""
        self.give_up(self._given_up or because_stopped)
        self._pool.kill(self._crawl)

    # What the pool needs to know and to tell

    def setup(self) -> OpenCrawl:
        """What another worker must know of the crawl."""
        first, self._first_setup = self._first_setup, None
        return first or self._make_setup(self._crawl)

    def has(self, handle: WorkerHandle, task_id: int) -> bool:
        """Whether the lane has this task from this crawl, which waits for it."""
        return self._books.entry(handle, task_id) is not None

    def oldest_lease(self, handle: WorkerHandle) -> Entry | None:
        """The task that the lane has had for the longest time."""
        return next(self._books.leases(handle), None)

    def opened(self, handle: WorkerHandle, report: Opened) -> None:
        """The crawl's consumers are open in a worker."""
        time = self.metrics.workers[handle.place]
        if time.ready_at is None:
            time.ready_at = monotonic()
        speaks, self._opened = not self._opened, True
        self._events.opened(report.effects, speaks)
        self._books.of(handle).soon()

    def has_room(self, items: int) -> None:
        """There are workers for so many pending tasks."""
        self._events.has_room(items)

    def open_failed(self, handle: WorkerHandle, report: OpenFailed) -> None:
        """They could not be opened there."""
        self._events.boot_failed(handle.name, report.failure)

    def closed(self, handle: WorkerHandle, report: Closed) -> None:
        """They have been closed there."""
        # A recycled worker is silent: it is not the crawl that closes.
        speaks = self._stopping and not self._closed
        self._closed = self._closed or speaks
        self._events.closed(handle.name, report.effects, report.failure, speaks)

    def took(self, handle: WorkerHandle, outcomes: Sequence[Outcome], size: int) -> None:
        """A report of *size* bytes: tasks are over."""
        times = [outcome.seconds for outcome in outcomes]
        seconds = sum(times)
        metrics = self.metrics
        metrics.bytes_returned += size
        metrics.workers[handle.place].busy += seconds
        dispatcher = self._books.of(handle)
        dispatcher.took(seconds, len(outcomes))
        entries, over = dispatcher.task_queue.settle(
            handle, [outcome.task_id for outcome in outcomes]
        )
        for _ in range(over):
            handle.message_done()
        self._settled_at = monotonic()
        waits: list[float] = []
        heard_at = handle.heard_at
        for entry, outcome in zip(entries, outcomes, strict=True):
            if entry is not None:  # else given up meanwhile
                waits.append(heard_at - entry.submitted_at - outcome.seconds)
                self._settle(entry, outcome.status, outcome)
        handle.settled += len(waits)
        metrics.service.extend(times)
        metrics.wait.extend(waits)
        dispatcher.soon()

    def look_for_room(self) -> None:
        """A worker has done with something of another crawl."""
        self._books.soon()

    def handle_lost(self, handle: WorkerHandle, death: Death) -> None:
        """The books of a lane that is gone."""
        dispatcher = self._books.of(handle)
        task_queue, charged = dispatcher.task_queue, death.charged
        if self._options.together and task_queue.accomplices(handle, handle.overdue):
            charged = handle.overdue  # which of those that ran as one took too long?
        elif handle.overdue is not None:
            # If the item made it in time after all, its outcome has come, and stands.
            [late], _ = task_queue.settle(handle, [handle.overdue])
            if late is not None:
                self._give_up(late, ItemTimeout(handle.title, late.limit), handle.name)
        lost = task_queue.lose(handle, charged, self._options.redeliver_times, death.begun)
        self.metrics.redelivered += lost.redelivered
        if lost.given_up is not None:
            deaths = lost.given_up.deaths
            error = WorkerDied(handle.title, deaths, death.exitcode, death.out_of_memory)
            self._give_up(lost.given_up, error, handle.name)
        dispatcher.soon()

    def left(self, handle: WorkerHandle) -> None:
        """Nothing of the crawl is in the lane any more, though that lives on."""
        for _ in range(self._books.of(handle).task_queue.forget(handle)):
            handle.message_done()

    def not_ready(self, place: int) -> None:
        """No worker of a place is ready for this crawl any more."""
        time = self.metrics.workers[place]
        time.manned, time.ready_at = time.lived(monotonic()), None

    def broken(self, error: PoolBroken) -> None:
        """Workers die, or cannot open the crawl's consumers: nothing comes of it any more."""
        logger.error("%s", error)
        # One for each task: raised again and again, an error would gather their tracebacks.
        self.give_up(lambda worker: PoolBroken(*error.args))
        self._events.broken(error)

    def _open_handles(self) -> Sequence[WorkerHandle]:
        return self._pool.handles_for(self._crawl)

    def _give_up(self, entry: Entry, error: MPWorkersError, worker: str | None) -> None:
        given_up = DeadLettered(error, entry.attempts, entry.deaths, worker)
        self._settled_at = monotonic()
        self._settle(entry, TaskStatus.DEAD_LETTERED, given_up)

    def _settle(self, entry: Entry, status: int, outcome: Outcome | DeadLettered) -> None:
        self.metrics.of(entry.row[1]).settled[status] += 1
        try:
            entry.settle(outcome)
        # Code of the user may run here, and the rest of the report must be settled all the same.
        except BaseException:
            logger.exception("Settling a task failed")

    def _watch_time(self, handle: WorkerHandle) -> None:
        self._time_limit.watch(handle)
        self._pool.watch_stuck()
