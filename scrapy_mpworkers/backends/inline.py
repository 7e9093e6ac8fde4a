"""Without worker processes: MPWORKERS_ENABLED=False by hand, and MPWORKERS_WORKERS=0."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from scrapy.crawler import Crawler
from scrapy.utils.defer import deferred_from_coro

from scrapy_mpworkers.pool.batching import ServiceTime, room
from scrapy_mpworkers.pool.interface import (
    DeadLettered,
    Executor,
    Loop,
    PoolEvents,
    Why,
    WorkerView,
    because_stopped,
    resolve,
)
from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.pool.recent import Recent
from scrapy_mpworkers.pool.task import Future, Task
from scrapy_mpworkers.pool.worker_state import Phase
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.crawl import CrawlState
from scrapy_mpworkers.wire.exceptions import pack_exception
from scrapy_mpworkers.wire.messages import (
    MORE,
    Attributes,
    Ending,
    FrameData,
    TaskStatus,
    WireTask,
)
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.consumer import CrawlConsumer
from scrapy_mpworkers.worker.logs import Records
from scrapy_mpworkers.worker.pipelines import hop_pipelines
from scrapy_mpworkers.worker.record_collector import RecordCollector

_HERE = "this process"


class InlineHop:
    """A hop placed by hand, while ``MPWORKERS_ENABLED`` is off: its pipelines run right here."""

    def __init__(self, crawler: Crawler, entries: Sequence[Any]) -> None:
        pipelines = hop_pipelines(entries, crawler)
        self.open_spider = pipelines.open_spider_async
        self.process_item = pipelines.process_item_async
        self.close_spider = pipelines.close_spider_async


class InlineExecutor(Executor):
    """A pool of no workers, for debugging: the same frames, consumers and outcomes, in this thread.

    Breakpoints, profilers and print work. Tasks run one after the other; keys mean nothing here, no
    limit can be enforced, and each batch holds one item.
    """

    settled_at = 0.0

    def __init__(
        self, make_state: Callable[[], Frame], codec: ParentCodec, events: PoolEvents, loop: Loop
    ) -> None:
        self.metrics = Metrics(workers=[WorkerTime()])
        self.recent = Recent(events)
        self.settled_at = monotonic()
        self._service = ServiceTime()
        self._make_state = make_state
        self._parent_codec = codec
        self._codec = WorkerCodec()
        self._consumers: CrawlConsumer | None = None
        self._has_batches = False
        self._events = events
        self._loop = loop
        self._tasks: deque[Task] = deque()
        self._running = False
        self._at_work: Task | None = None
        self._began_at = 0.0
        self._numbers = itertools.count(1)
        self._given_up: Why | None = None

    def start(self) -> None:
        self._tell_room()
        deferred_from_coro(self._open())

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
        self.metrics.hops[hop].submitted += 1
        number, future = next(self._numbers), future or self._loop.create_future()
        row = (number, hop, frame, results, attributes)
        task = Task(number, row, needs, future, size, monotonic())
        task.subject = subject
        self._take(task)
        return task

    def go_on(self, task: Task, is_over: bool = False) -> None:
        task.future = self._loop.create_future()
        task.row = (task.id, task.hop, b"", (b"",) if is_over else (), None)
        self._take(task)

    def flush(self) -> None: ...

    def stop_batching(self) -> None: ...

    def withdraw(self, task: Task) -> None:
        if task in self._tasks and task is not self._at_work:
            self._tasks.remove(task)
            self.metrics.hops[task.hop].cancelled += 1

    def look(self) -> list[WorkerView]:
        phase = Phase.IDLE if self._at_work is None else Phase.BUSY
        done = (self.metrics.tasks_settled, self.metrics.workers[0].busy, 0)
        return [WorkerView(_HERE, os.getpid(), phase, self._at_work, self._began_at, *done)]

    def overdue(self) -> list[tuple[Task, str, float]]:
        now = monotonic()
        return [(one, _HERE, now - one.submitted_at) for one in self._tasks][:1]

    def stacks(self, timeout: float) -> Future:
        future = self._loop.create_future()
        resolve(future, {})
        return future

    def give_up(self, why: Why) -> None:
        self._given_up = why
        while self._tasks:
            holder = _HERE if self._tasks[0] is self._at_work else None
            self._settle(TaskStatus.DEAD_LETTERED, DeadLettered(why(holder)))

    def kill(self) -> None: ...

    def stop(self, timeout: float, stopped: Callable[[], None], ending: Ending) -> None:
        self.give_up(self._given_up or because_stopped)
        deferred_from_coro(self._close(stopped, ending))

    async def _open(self) -> None:
        try:
            codec = self._codec
            codec.share(**dict.fromkeys(("spider", "crawler", "settings")))
            frame = self._make_state()
            self._learn(frame.needs)
            state: CrawlState = codec.load(bytes(frame.data))
            # No logger has this collector, so Scrapy's own handlers get what is logged here.
            records = Records(codec, RecordCollector())
            self._consumers = CrawlConsumer(state, codec, _unguarded, records)
            self._has_batches = state.batches
            await self._consumers.open()
        except BaseException as error:
            failure = self._codec.dump(pack_exception(error, self._codec.dump))
            self._events.boot_failed(_HERE, failure)
        else:
            self.metrics.workers[0].ready(monotonic())
            self._events.opened(self._consumers.effects(), True)

    def _take(self, task: Task) -> None:
        self._tasks.append(task)
        if self._given_up is not None:
            self._loop.call_soon(partial(self.give_up, self._given_up))
        elif not self._running:
            self._running = True
            self._loop.call_soon(self._begin_work)

    def _begin_work(self) -> None:
        deferred_from_coro(self._work())

    async def _work(self) -> None:
        assert self._consumers is not None
        while self._tasks and self._given_up is None:
            task = self._tasks[0]
            self._learn(task.needs)
            self._at_work = task
            self._begins()
            number, hop, frame, results, attributes = task.row
            sent = WireTask(number, hop, bytes(frame), results, attributes)
            if self._has_batches:
                [outcome] = await self._consumers.consume_batched([sent], self._begins)
            else:
                outcome = await self._consumers.consume(sent)
            if not self._tasks or self._tasks[0] is not task:
                continue  # given up meanwhile
            waited = max(0.0, monotonic() - task.submitted_at - outcome.seconds)
            self.metrics.record(monotonic(), 0, 0, [outcome.seconds], [waited])
            self.recent.slow(monotonic(), _HERE, [task], [outcome.seconds])
            self._service.add(outcome.seconds)
            self._tell_room()
            if outcome.status == MORE:
                self._events.came(self._tasks.popleft(), outcome)
            else:
                self._settle(TaskStatus(outcome.status), outcome)
        self._running, self._at_work = False, None

    def _begins(self) -> None:
        self._began_at = monotonic()

    async def _close(self, stopped: Callable[[], None], ending: Ending) -> None:
        failure = None
        if self._consumers is not None:
            try:
                await self._consumers.close(ending)
            except BaseException as error:
                failure = self._codec.dump(pack_exception(error, self._codec.dump))
            self._events.closed(_HERE, self._consumers.effects(), failure, True)
        stopped()

    def _learn(self, needs: Sequence[int]) -> None:
        # Loading definitions would make second classes of the same names in this very process.
        for number in needs:
            self._codec.learn(number, self._parent_codec.definitions.objects[number])

    def _settle(self, status: TaskStatus, outcome: Any) -> None:
        task = self._tasks.popleft()
        self.settled_at = monotonic()
        self.metrics.hops[task.hop].settled[status] += 1
        self._events.settled(task, outcome)

    def _tell_room(self) -> None:
        self._events.has_room(room([self._service], 1))


def _unguarded(work: Awaitable[Any]) -> Awaitable[Any]:
    return work
