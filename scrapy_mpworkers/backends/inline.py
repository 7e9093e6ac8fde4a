"""Without worker processes: MPWORKERS_ENABLED=False by hand, and MPWORKERS_WORKERS=0."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any

from scrapy.crawler import Crawler
from scrapy.utils.defer import deferred_from_coro

from scrapy_mpworkers.pool.interface import (
    DeadLettered,
    Parcel,
    PoolEvents,
    Settle,
    Why,
    because_stopped,
)
from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.crawl import CrawlState
from scrapy_mpworkers.wire.effects import WireRecord
from scrapy_mpworkers.wire.exceptions import pack_exception
from scrapy_mpworkers.wire.messages import Task, TaskStatus
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.consumer import CrawlConsumer
from scrapy_mpworkers.worker.pipelines import hop_pipelines


class InlineHop:
    """A hop placed by hand, while ``MPWORKERS_ENABLED`` is off: its pipelines run right here."""

    def __init__(self, crawler: Crawler, entries: Sequence[Any]) -> None:
        self._pipelines = hop_pipelines(entries, crawler)

    async def open_spider(self) -> None:
        """Open the pipelines."""
        await self._pipelines.open_spider_async()

    async def process_item(self, item: Any) -> Any:
        """Run the item through the pipelines."""
        return await self._pipelines.process_item_async(item)

    async def close_spider(self) -> None:
        """Close the pipelines."""
        await self._pipelines.close_spider_async()


class InlineExecutor:
    """A pool of no workers, for debugging: the same frames, consumers and outcomes, in this thread.

    A :class:`~scrapy_mpworkers.backends.base.Executor`.
    Breakpoints, profilers and print work. Keys mean nothing here, and a batch is one of one.
    """

    def __init__(
        self,
        make_state: Callable[[], Frame],
        codec: ParentCodec,
        events: PoolEvents,
        call_soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self.metrics = Metrics(workers=[WorkerTime()])
        self.settled_at = monotonic()
        self._make_state = make_state
        self._parent_codec = codec
        self._codec = WorkerCodec()
        self._events = events
        self._call_soon = call_soon
        self._tasks: deque[tuple[Task, tuple[int, ...], Settle, float]] = deque()
        self._running = False
        self._at_work: Task | None = None
        self._count = 0
        self._given_up: Why | None = None

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        return len(self._tasks)

    def start(self) -> None:
        """Build and open the consumers here."""
        self._run(self._open())

    def submit(
        self,
        hop: int,
        parcel: Parcel,
        settle: Settle,
        key: Any = None,
        limit: float | None = None,
    ) -> int:
        """Take a task; they run one after the other. No limit can be enforced here."""
        self._count += 1
        self.metrics.of(hop).submitted += 1
        frame, needs, _ = parcel.frame
        task = Task(self._count, hop, bytes(frame), parcel.results)
        self._tasks.append((task, needs, settle, monotonic()))
        if self._given_up is not None:
            self._call_soon(partial(self.give_up, self._given_up))
        elif not self._running:
            self._running = True
            self._call_soon(lambda: self._run(self._work()))
        return self._count

    def flush(self) -> None:
        """Nothing: no task waits for others."""

    def hurry(self) -> None:
        """Nothing, likewise."""

    def withdraw(self, task_id: int) -> None:
        """Nobody waits for a task any more; if it has not begun, it never does."""
        for number, (task, *_) in enumerate(self._tasks):
            if task.id == task_id and task is not self._at_work:
                del self._tasks[number]
                self.metrics.of(task.hop).cancelled += 1
                return

    def workers(self) -> tuple[int, int]:
        """Busy and ready workers; this process counts as one."""
        return int(self._running), 1

    def overdue(self) -> list[tuple[int, str, float]]:
        """The task at work."""
        return [(task.id, "this process", monotonic() - at) for task, _, _, at in self._tasks][:1]

    def give_up(self, why: Why) -> None:
        """Settle every pending task with the error that *why* makes, and every later one too."""
        self._given_up = why
        while self._tasks:
            holder = "this process" if self._tasks[0][0] is self._at_work else None
            self._settle(TaskStatus.DEAD_LETTERED, DeadLettered(why(holder)))

    def kill(self) -> None:
        """Nothing: there is no process to kill."""

    def stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Close the consumers."""
        self.give_up(self._given_up or because_stopped)
        self._run(self._close(stopped))

    async def _open(self) -> None:
        try:
            codec = self._codec
            codec.share(**dict.fromkeys(("spider", "crawler", "settings")))
            frame = self._make_state()
            self._learn(frame.needs)
            state: CrawlState = codec.load(bytes(frame.data))
            self._consumers = CrawlConsumer(state, codec, _unguarded, _NoRecords())
            self._has_batches = state.batches
            await self._consumers.open()
        except BaseException as error:
            failure = self._codec.dump(pack_exception(error, self._codec.dump))
            self._events.boot_failed("this process", failure)
        else:
            self.metrics.workers[0].ready_at = monotonic()
            self._events.opened(self._consumers.effects(), True)

    async def _work(self) -> None:
        while self._tasks and self._given_up is None:
            task, needs, _, submitted_at = self._tasks[0]
            self._learn(needs)
            self._at_work = task
            if self._has_batches:
                [outcome] = await self._consumers.consume_together([task])
            else:
                outcome = await self._consumers.consume(task)
            if not self._tasks or self._tasks[0][0] is not task:
                continue  # given up meanwhile
            self.metrics.workers[0].busy += outcome.seconds
            self.metrics.service.add(outcome.seconds)
            self.metrics.wait.add(max(0.0, monotonic() - submitted_at - outcome.seconds))
            self._settle(TaskStatus(outcome.status), outcome)
        self._running = False

    async def _close(self, stopped: Callable[[], None]) -> None:
        failure = None
        if hasattr(self, "_consumers"):
            try:
                await self._consumers.close()
            except BaseException as error:
                failure = self._codec.dump(pack_exception(error, self._codec.dump))
            self._events.closed("this process", self._consumers.effects(), failure, True)
        stopped()

    def _learn(self, needs: Sequence[int]) -> None:
        # By value would make a second class of the same name in this very process.
        for number in needs:
            self._codec.learn(number, self._parent_codec.definitions.objects[number])

    def _settle(self, status: TaskStatus, outcome: Any) -> None:
        task, _, settle, _ = self._tasks.popleft()
        self.settled_at = monotonic()
        self.metrics.of(task.hop).settled[status] += 1
        settle(outcome)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        deferred_from_coro(work)


class _NoRecords:
    """Records are logged right here."""

    def collect(self) -> None: ...

    def take(self) -> tuple[WireRecord, ...]:
        return ()


def _unguarded(work: Awaitable[Any]) -> Awaitable[Any]:
    return work
