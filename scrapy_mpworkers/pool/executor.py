"""Takes the tasks of one crawl, and settles them. All here runs in the event loop's thread.

Several crawls may share the workers of a pool; each has an executor of its own. Nothing waits.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from time import monotonic
from typing import Any

from scrapy_mpworkers.errors import ItemTimeout, MPWorkersError, PoolBroken, WorkerDied
from scrapy_mpworkers.pool.dispatcher import Dispatcher
from scrapy_mpworkers.pool.interface import (
    DeadLettered,
    Death,
    Loop,
    PoolEvents,
    PoolOptions,
    Why,
    because_stopped,
    resolve,
)
from scrapy_mpworkers.pool.observed import ObservedExecutor
from scrapy_mpworkers.pool.restarts import SEE_IT, DeadlyPipelines, RestartIntensity
from scrapy_mpworkers.pool.task import Future, Task
from scrapy_mpworkers.pool.workers import WorkerGroup, WorkerHandle
from scrapy_mpworkers.wire.messages import (
    MORE,
    Attributes,
    Closed,
    Ending,
    FrameData,
    OpenCrawl,
    Opened,
    Outcome,
    Outcomes,
    TaskStatus,
    as_outcome,
    kind_of,
    nothing_of,
)

logger = logging.getLogger(__name__)

_task_id = attrgetter("task_id")
_seconds = attrgetter("seconds")


class PoolExecutor(ObservedExecutor):
    """Has the tasks of one crawl done by the workers of a pool.

    Args:
        find_group: finds the workers to join, at the start.
        options: sizes and limits of their pool.
        make_setup: makes what each worker must know of the crawl, which has this number.
        blobs: definitions by number, as tasks refer to them.
        events: told of each task, and of what is not the business of a single one.

    Attributes:
        crawl: its number, by which messages tell crawls apart.
        has_opened: whether the crawl's consumers have been open in any worker.
        is_broken: it gets no more workers, and is about to leave.
        is_hasty: it will not wait for its consumers' close.
        look_for_room: to be called when a worker has done with something of another crawl.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        find_group: Callable[[], WorkerGroup],
        options: PoolOptions,
        make_setup: Callable[[int], OpenCrawl],
        blobs: Mapping[int, bytes],
        events: PoolEvents,
        loop: Loop,
    ) -> None:
        super().__init__(options.workers, events)
        self._settled_at = monotonic()
        self._first_setup: OpenCrawl | None = None
        self.crawl = next(self._numbers)
        self._find_group, self._make_setup, self._options = find_group, make_setup, options
        self._task_ids: Iterator[int] = iter(())
        self._dispatcher = Dispatcher(self.crawl, options, blobs, loop)
        self.look_for_room = self._dispatcher.soon
        self._loop = loop
        self.has_opened = self.is_broken = self.is_hasty = self._closed = self._stopping = False
        self._troubles = RestartIntensity(options.intensity, options.period)
        self._deadly = DeadlyPipelines(options.intensity)
        self._given_up: Why | None = None

    @property
    def _group(self) -> WorkerGroup:
        assert self._joined is not None, "it has not been started"
        return self._joined

    # For the crawl

    def start(self) -> None:
        # Made before anything starts: if the first setup can be made, no later one should fail.
        self._first_setup = self._make_setup(self.crawl)
        self._joined = group = self._find_group()
        self._task_ids = group.task_ids
        self._dispatcher.start(group)
        group.admit(self.crawl, self)
        self._events.has_room(self._dispatcher.room)

    @property
    def pending(self) -> int:
        return self._dispatcher.pending

    @property
    def settled_at(self) -> float:
        if self._group.is_blocked(self.crawl):
            self._settled_at = monotonic()
        return self._settled_at

    def submit(
        self,
        hop: int,
        frame: FrameData,
        needs: tuple[int, ...],
        results: tuple[bytes, ...],
        attributes: Attributes | None,
        size: int,
        key: Any = None,
        limit: float | None = None,
        subject: Any = None,
        future: Future | None = None,
    ) -> Task:
        task_id = next(self._task_ids)
        self.metrics.hops[hop].submitted += 1
        seconds = self._options.item_timeout if limit is None else limit
        row = (task_id, hop, frame, results, attributes)
        future = future or self._loop.create_future()
        task = Task(task_id, row, needs, future, size, monotonic(), seconds, subject)
        if self._given_up is not None:
            late = self._given_up(None)
            self._loop.call_soon(lambda: self._give_up(task, late, None))
            return task
        self.metrics.bytes_shipped += size
        self._dispatcher.add(task, key)
        return task

    def withdraw(self, task: Task) -> None:
        if self._dispatcher.withdraw(task):
            self.metrics.hops[task.hop].cancelled += 1

    def go_on(self, task: Task, is_over: bool = False) -> None:
        task.future = self._loop.create_future()
        if self._given_up is not None:  # and the task with all others
            resolve(task.future, DeadLettered(self._given_up(None), task.attempts, task.deaths))
        elif not self._dispatcher.go_on(task, is_over):
            self._settle(task, TaskStatus.DONE, nothing_of(task.id))

    def flush(self) -> None:
        self._dispatcher.flush()

    def stop_batching(self) -> None:
        self._dispatcher.stop_batching()

    def give_up(self, why: Why) -> None:
        self._given_up = why
        holders = {task.id: worker for task, worker, _ in self.overdue()} if self.pending else {}
        for handle in self._handles if holders else ():
            self._unfinished(handle)
        for task in self._dispatcher.clear():
            self._give_up(task, why(holders.get(task.id)), holders.get(task.id))

    def stop(self, timeout: float, stopped: Callable[[], None], ending: Ending) -> None:
        self._stopping = True
        self._dispatcher.end_parked()
        self.give_up(self._given_up or because_stopped)
        self._group.leave(self.crawl, timeout, stopped, ending)

    def kill(self) -> None:
        self.give_up(self._given_up or because_stopped)
        self.is_hasty = True
        self._group.kill(self.crawl)

    # What the workers' group asks and tells

    def setup(self) -> OpenCrawl:
        """Return what another worker must know of the crawl."""
        first, self._first_setup = self._first_setup, None
        return first or self._make_setup(self.crawl)

    def has_parked(self, handle: WorkerHandle) -> bool:
        return self._dispatcher.queue_of(handle).parked.are_at(handle)

    def leases(self, handle: WorkerHandle) -> Iterator[Task]:
        return self._dispatcher.queue_of(handle).leases(handle)

    def task(self, handle: WorkerHandle, task_id: int | None) -> Task | None:
        return self._dispatcher.queue_of(handle).task(handle, task_id)

    def opened(self, handle: WorkerHandle, report: Opened) -> None:
        self.metrics.workers[handle.slot].ready(monotonic())
        is_first, self.has_opened = not self.has_opened, True
        self._events.opened(report.effects, is_first)
        self._dispatcher.soon()

    def workers_changed(self, count: int) -> None:
        """Take notice that there are so many workers, and tell how many tasks may be pending."""
        self._dispatcher.workers_changed(count)
        self._events.has_room(self._dispatcher.room)

    def closed(self, handle: WorkerHandle, report: Closed) -> None:
        # The end of a recycled worker does not speak for the crawl, which goes on.
        is_first = self._stopping and not self._closed
        self._closed = self._closed or is_first
        self._events.closed(handle.name, report.effects, report.failure, is_first)

    def on_outcomes(self, handle: WorkerHandle, report: Outcomes, size: int) -> None:
        """Settle the tasks of a report of *size* bytes."""
        outcomes: list[Outcome] = list(map(as_outcome, report.rows))
        times = list(map(_seconds, outcomes))
        tasks, over = self._dispatcher.settle(handle, list(map(_task_id, outcomes)), sum(times))
        self._settled_at = monotonic()
        heard_at, waits = handle.heard_at, list[float]()
        for task, outcome, seconds in zip(tasks, outcomes, times, strict=True):
            if task is None:
                continue  # given up meanwhile
            if (status := outcome.status) == MORE:
                self._dispatcher.park(handle, task, outcome.keys)
                self._events.came(task, outcome)
            else:
                waits.append(heard_at - task.submitted_at - seconds)
                self._settle(task, status, outcome)
        self._events.has_room(self._dispatcher.room)
        handle.tasks_settled(len(waits), over)
        self.metrics.record(self._settled_at, handle.slot, size, times, waits)
        if max(times) > self.recent.slow_from:
            self.recent.slow(self._settled_at, handle.name, tasks, times)
        self._dispatcher.soon()

    def handle_lost(self, handle: WorkerHandle, death: Death, begun: Sequence[Task] = ()) -> None:
        """Queue the tasks of a lost worker again, and give up one that has cost too many."""
        queue, suspect = self._dispatcher.queue_of(handle), death.suspect
        if self._options.batched and queue.suspects(handle, handle.overdue):
            suspect = handle.overdue  # any of those that ran as one may have taken too long
        elif handle.overdue is not None:
            # If the item made it in time after all, its outcome has come, and stands.
            [late], _ = queue.settle(handle, [handle.overdue])
            if late is not None:
                where = late.limit, handle.stack, kind_of(late.hop)
                self._give_up(late, ItemTimeout(handle.title, *where), handle.name)
        lost = queue.lose(handle, suspect, self._options.redeliver_times, begun)
        if count := lost.redelivered:
            self.metrics.redelivered += count
            self.recent.note(monotonic(), "redelivery", handle.name, f"run again: {count}")
        for task in lost.over:
            self._settle(task, TaskStatus.DONE, nothing_of(task.id))
        if lost.given_up is not None:
            last = death.exitcode, death.out_of_memory, kind_of(lost.given_up.hop)
            error = WorkerDied(handle.title, lost.given_up.deaths, *last)
            self._give_up(lost.given_up, error, handle.name)
            if self._deadly.are_certain(lost.given_up.deaths, self.metrics):
                self.break_off(f"{self._deadly.history}; the last: {handle.title} {death.in_words}")
        self._dispatcher.soon()

    def left(self, handle: WorkerHandle) -> None:
        """Forget a worker that has nothing of the crawl any more, though it lives on."""
        handle.tasks_settled(0, self._dispatcher.queue_of(handle).forget(handle))

    def may_fail(self) -> bool:
        """Return whether to try again after a worker could not open the crawl's consumers."""
        return self._troubles.allows(monotonic(), reports=self.metrics.reports)

    def break_off(self, history: str, advice: str = SEE_IT) -> None:
        """Give up all tasks, because workers die or cannot open the crawl's consumers."""
        self.is_broken = True
        error = PoolBroken(f"the worker pool is broken: {history}. {advice}")
        logger.error("%s", error)
        self.recent.note(monotonic(), "broken", "", str(error))
        # Each task gets its own error: one that is raised again and again gathers tracebacks.
        self.give_up(lambda worker: PoolBroken(*error.args))
        self._events.broken(error)

    def _give_up(self, task: Task, error: MPWorkersError, worker: str | None) -> None:
        if task.is_over:  # its worker was about to end it
            self._settle(task, TaskStatus.DONE, nothing_of(task.id))
            return
        self._settled_at = monotonic()
        self.metrics.rate.add(self._settled_at, 1)
        self.recent.note(self._settled_at, "dead_letter", worker or "", str(error), task)
        given_up = DeadLettered(error, task.attempts, task.deaths, worker)
        self._settle(task, TaskStatus.DEAD_LETTERED, given_up)

    def _settle(self, task: Task, status: int, outcome: Outcome | DeadLettered) -> None:
        self.metrics.hops[task.row[1]].settled[status] += 1
        try:
            self._events.settled(task, outcome)
        # Code of the user may run here, and the rest of the report must be settled all the same.
        except BaseException:
            logger.exception("Settling a task failed")
