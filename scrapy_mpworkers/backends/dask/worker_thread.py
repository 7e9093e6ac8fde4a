"""A worker thread: it has one crawl's consumers of one level, in a worker process of Dask.

They live on an asyncio loop as in a worker process of ours. Commands come from the loop of Dask's
worker, and reports go back there. The worker threads of a process run one at a time: pipelines are
not made for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from scrapy_mpworkers.backends.dask.command_queue import PendingCommand
from scrapy_mpworkers.wire.frames import decode_command
from scrapy_mpworkers.wire.messages import NO_PRELUDE, Answer, Batch, Boot, Prelude
from scrapy_mpworkers.worker.crawls import OpenCrawls
from scrapy_mpworkers.worker.loop import WatchfulLoop, cancel_the_rest
from scrapy_mpworkers.worker.prelude import attempt_once
from scrapy_mpworkers.worker.record_collector import RecordCollector

#: Threads that Dask may start at any time, and that never wake a worker thread's loop.
_OF_DASK = ("Dask-", "TCP-Executor", "ThreadPoolExecutor", "Profile", "IO loop", "Offload")

_runs_pipelines = threading.Lock()  # held by one worker thread of the process at a time
_of_thread = threading.local()


def collector_of_thread() -> RecordCollector | None:
    """Return what collects the records of the current thread; ``None``: it is one of Dask's."""
    return getattr(_of_thread, "collector", None)


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

    def put(self, pending: PendingCommand) -> None:
        """Take a command. A network may deliver two in the wrong order."""
        self.pending[pending.number] = pending
        self._wake()
        if not self.thread.is_alive():
            self._lose_all()

    async def answer(self, number: int) -> Answer | None:
        """Return what has come of a command; ``None`` if the thread has ended without it."""
        pending = self.pending[number]
        answer = await pending.answer()
        if answer.is_last:
            del self.pending[number]
        return None if pending.is_lost else answer

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
                pending.is_lost = True
                pending.end()

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
            await self._close(None)

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
            await self._close(pending)
            return True
        return False

    async def _run_batch(self, batch: Batch, pending: PendingCommand) -> None:
        consumer = self._crawls.activate(batch.crawl)
        if batch.definitions:
            consumer.define(batch.definitions)
        tasks = batch.tasks
        if batch.together:
            pending.begin(tasks[0].id)  # it stands for all of them
            for outcome in await consumer.consume_together(tasks):
                pending.add(batch.crawl, outcome)
            return
        for task in tasks:
            pending.begin(task.id)
            pending.add(batch.crawl, await consumer.consume(task), task is tasks[-1])

    async def _close(self, pending: PendingCommand | None) -> None:
        for crawl in self._crawls.crawls:
            closed = await self._crawls.close(crawl)
            if pending is not None:
                pending.report(closed)
