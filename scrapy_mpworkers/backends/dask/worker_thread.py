"""A worker thread: it has one crawl's consumers of one level, in a worker process of Dask.

They live on an asyncio loop as in a worker process of ours. Commands come from the loop of Dask's
worker, and reports go back there. The worker threads of a process run one at a time: pipelines are
not made for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from scrapy_mpworkers.wire.frames import decode_command, encode_report
from scrapy_mpworkers.wire.messages import (
    GOES_ON,
    NO_PRELUDE,
    Answer,
    Batch,
    Boot,
    Closed,
    Ending,
    Outcome,
    Outcomes,
    PoisonPill,
    Prelude,
    Report,
)
from scrapy_mpworkers.worker.crawls import OpenCrawls, Withdrawn
from scrapy_mpworkers.worker.loop import WatchfulLoop, cancel_the_rest
from scrapy_mpworkers.worker.prelude import attempt_once
from scrapy_mpworkers.worker.record_collector import RecordCollector
from scrapy_mpworkers.worker.stacks import stacks_of

#: Seconds after which what is ready of a batch goes back without the rest.
PATIENCE = 1.0
#: Threads that Dask may start at any time, and that never wake a worker thread's loop.
_OF_DASK = ("Dask-", "TCP-Executor", "ThreadPoolExecutor", "Profile", "IO loop", "Offload")

_runs_pipelines = threading.Lock()  # held by one worker thread of the process at a time
_of_thread = threading.local()


def collector_of_thread() -> RecordCollector | None:
    """Return what collects the records of the current thread; ``None``: it is one of Dask's."""
    return getattr(_of_thread, "collector", None)


class PendingCommand:
    """A command with its reports so far: a worker thread adds what comes of it, and the loop of
    Dask's worker, where it is made, takes that and sends it back.

    Args:
        command: encoded.
        limits: seconds that its tasks may take, by their ids; those without may take any time.
    """

    def __init__(self, command: bytes, limits: Mapping[int, float]) -> None:
        self.command = command
        self.is_over = False
        self.is_lost = False  #: its thread has ended before it was done
        self._running: tuple[int, float] | None = None  # a task, and when it began, monotonic()
        self._limits = limits
        self._crawl = 0
        self._reports: deque[Report] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._is_late = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # In the worker thread

    def begin(self, task_id: int) -> None:
        self._running = task_id, monotonic()

    def add(self, crawl: int, outcome: Outcome, is_last: bool = False) -> None:
        """Add the outcome of a task; the last one goes back with the end that follows."""
        self._running = None
        self._crawl = crawl
        self._outcomes.append(outcome)
        if self._is_late and not is_last:
            self._notify()

    def report(self, report: Report) -> None:
        """Add a report of something else than a task's outcome."""
        self._reports.append(report)

    def end(self, is_lost: bool = False) -> None:
        """Send back what is left, as no more is to come."""
        self.is_lost, self.is_over = is_lost, True
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._changed.set)

    # In the loop of Dask's worker

    async def answer(self) -> Answer:
        """Return all reports, or those that are ready when patience is over or a task takes too
        long."""
        patience = monotonic() + PATIENCE
        while True:
            self._changed.clear()
            now = monotonic()
            self._is_late = now >= patience
            overdue = self._overdue(now)
            if self.is_over or overdue is not None or (self._is_late and self._outcomes):
                return self._taken(overdue)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._pause(now, patience))

    def _taken(self, overdue: int | None) -> Answer:
        is_last = self.is_over  # before the last are taken
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        reports = [self._reports.popleft() for _ in range(len(self._reports))]
        reports += [Outcomes.of(self._crawl, outcomes)] * bool(outcomes)
        return Answer(tuple(map(encode_report, reports)), is_last, overdue)

    def _overdue(self, now: float) -> int | None:
        if (running := self._running) is None:
            return None
        task_id, since = running
        limit = self._limits.get(task_id)
        return task_id if limit and now - since >= limit else None

    def _pause(self, now: float, patience: float) -> float | None:
        # Seconds until it must be looked at again, whatever happens.
        pauses = [patience - now] * (not self._is_late)
        if self._limits:
            task_id, since = self._running or (-1, now)  # no task has this id
            limit = self._limits.get(task_id, min(self._limits.values()))
            pauses.append(max(0.001, since + limit - now))
        return min(pauses, default=None)


class WorkerThread:
    """Runs commands in the order of their numbers, from 0.

    Args:
        prelude: runs before the pipelines, once in this process for each *crawl*.
    """

    def __init__(self, prelude: Prelude = NO_PRELUDE, crawl: str = "") -> None:
        self.pending: dict[int, PendingCommand] = {}  #: not answered in full, by their numbers
        self._collector = RecordCollector()
        self._next = 0
        self._is_ending = False
        self._prelude = prelude
        self._crawl = crawl
        self._unfit: Exception | None = None
        bystanders = {thread.name for thread in threading.enumerate()}
        self._loop = WatchfulLoop((*bystanders, *_OF_DASK))
        self._crawls = OpenCrawls(self._loop)
        self._due = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="mpworkers-thread", daemon=True)
        self.thread.start()

    # In the loop of Dask's worker

    def put(self, number: int, command: bytes, limits: Mapping[int, float]) -> None:
        """Take a command. A network may deliver two in the wrong order."""
        self.pending[number] = PendingCommand(command, limits)
        self._wake()
        if not self.thread.is_alive():
            self._lose_all()

    async def answer(self, number: int) -> Answer | None:
        """Return what has come of a command; ``None`` if the thread has ended without it."""
        pending = self.pending[number]
        answer = await pending.answer()
        if answer.overdue is not None:
            answer = answer._replace(stack=self.stack())
        if answer.is_last:
            del self.pending[number]
        return None if pending.is_lost else answer

    def stack(self) -> str:
        """Return where the thread is, and what waits in its loop."""
        return stacks_of([self.thread], self._loop)

    def end(self) -> None:
        """Close the consumers when the command at work is done: nobody sends any more."""
        self._is_ending = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._due.set)

    # In its own thread

    def _run(self) -> None:
        self._own_thread()
        asyncio.set_event_loop(self._loop)
        # A pipeline's calls of to_thread log for the same crawl.
        executor = ThreadPoolExecutor(None, "asyncio_mpworkers", self._own_thread)
        self._loop.set_default_executor(executor)
        with _runs_pipelines:
            self._unfit = attempt_once(self._prelude, self._crawl)
        try:
            with contextlib.suppress(Withdrawn):  # let go while it built consumers
                self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(cancel_the_rest())
        finally:
            executor.shutdown(wait=False)
            asyncio.set_event_loop(None)
            self._loop.close()
            self._lose_all()

    def _lose_all(self) -> None:
        # The thread ends, or has: by the pill, or by a SystemExit of a task that a pipeline left.
        for pending in list(self.pending.values()):
            if not pending.is_over:
                pending.end(is_lost=True)

    def _own_thread(self) -> None:
        _of_thread.collector = self._collector

    async def _serve(self) -> None:
        while True:
            while self._next not in self.pending and not self._is_ending:
                self._due.clear()
                await self._due.wait()
            if self._is_ending:
                break
            pending = self.pending[self._next]
            self._next += 1
            with _runs_pipelines:
                is_pill = await self._run_command(pending)
            pending.end()
            if is_pill:
                return
        with _runs_pipelines:
            await self._close()

    async def _run_command(self, pending: PendingCommand) -> bool:
        """Do what a command says, and return whether it was the pill."""
        command = decode_command(pending.command)
        pending.command = b""
        if isinstance(command, Boot):
            for setup in command.setups:
                opening = self._crawls.open(setup, lambda: not self._is_ending, self._unfit)
                pending.report(await opening)
        elif isinstance(command, Batch):
            await self._run_batch(command, pending)
        else:
            assert isinstance(command, PoisonPill)
            for closed in await self._close(command.ending):
                pending.report(closed)
            return True
        return False

    async def _run_batch(self, batch: Batch, pending: PendingCommand) -> None:
        consumer = self._crawls.activate(batch.crawl)
        if batch.definitions:
            consumer.define(batch.definitions)
        tasks = batch.tasks
        if batch.batched:
            begins = partial(pending.begin, tasks[0].id)  # it stands for all of them
            for outcome in await consumer.consume_batched(tasks, begins):
                pending.add(batch.crawl, outcome)
            return
        for task in tasks:
            pending.begin(task.id)
            pending.add(batch.crawl, await consumer.consume(task), task is tasks[-1])

    async def _close(self, ending: Ending = GOES_ON) -> list[Closed]:
        return [await self._crawls.close(crawl, ending) for crawl in self._crawls.crawls]
