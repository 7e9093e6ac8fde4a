"""A seat: one crawl's consumers of one level as a guest in a process that is not ours.

They live in a thread of their own, on an asyncio loop as in a worker of ours. Orders come from the
host's loop and reports go back there. Seats of one process take turns: pipelines are not made for
threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from scrapy_mpworkers.backends.dask.command_queue import PendingCommand
from scrapy_mpworkers.wire.framing import decode_command
from scrapy_mpworkers.wire.messages import NO_PRELUDE, Answer, Batch, Boot, Prelude
from scrapy_mpworkers.worker.crawls import Consumer, OpenCrawls
from scrapy_mpworkers.worker.loop import WatchfulLoop, cancel_the_rest
from scrapy_mpworkers.worker.prelude import attempt_as_guest

#: Threads that a cluster may start at any time, and that never wake a seat's loop.
_OF_THE_HOST = ("Dask-", "TCP-Executor", "ThreadPoolExecutor", "Profile", "IO loop", "Offload")

_turn = threading.Lock()  # of the process: one seat at a time runs pipelines
_of_thread = threading.local()


class ThreadOwner:
    """Stands for a seat, as long as it has threads."""


def guest_of_thread() -> ThreadOwner | None:
    """Whose thread this is; ``None`` if it is the host's."""
    return getattr(_of_thread, "guest", None)


class WorkerThread:
    """Takes deliveries in the order of their numbers, from 0.

    Args:
        prelude: what runs before the pipelines, once in this process for each *crawl*.
    """

    def __init__(self, prelude: Prelude = NO_PRELUDE, crawl: str = "") -> None:
        self.deliveries: dict[int, PendingCommand] = {}
        self._guest = ThreadOwner()
        self._next = 0
        self._is_ending = False
        self._prelude = prelude
        self._crawl = crawl
        self._unfit: Exception | None = None
        bystanders = {thread.name for thread in threading.enumerate()}
        self._loop = WatchfulLoop((*bystanders, *_OF_THE_HOST))
        self._host = OpenCrawls(self._loop)
        self._due = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="mpworkers-seat", daemon=True)
        self.thread.start()

    # In the host's loop

    def put(self, delivery: PendingCommand) -> None:
        """Take an order. A network may deliver two in the wrong order."""
        self.deliveries[delivery.number] = delivery
        self._call(self._due.set)
        if not self.thread.is_alive():
            self._lose_all()

    async def answer(self, number: int) -> Answer | None:
        """What has come of a delivery; ``None`` if the seat has ended without it."""
        delivery = self.deliveries[number]
        answer = await delivery.answer()
        if answer.is_last:
            del self.deliveries[number]
        return None if delivery.is_lost else answer

    def end(self) -> None:
        """Nobody sends any more: close the consumers, when the order at work is done."""
        self._is_ending = True
        self._call(self._due.set)

    def _call(self, function: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(function)  # type: ignore[arg-type]

    # In its own thread

    def _run(self) -> None:
        self._become_guest()
        asyncio.set_event_loop(self._loop)
        # A pipeline's calls of to_thread log for the same crawl.
        executor = ThreadPoolExecutor(
            thread_name_prefix="asyncio_seat", initializer=self._become_guest
        )
        self._loop.set_default_executor(executor)
        with _turn:
            self._unfit = attempt_as_guest(self._prelude, self._crawl)
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(cancel_the_rest())
        finally:
            executor.shutdown(wait=False)
            asyncio.set_event_loop(None)
            self._loop.close()
            self._lose_all()

    def _lose_all(self) -> None:
        """The thread ends, or has: by the pill, or by a SystemExit of a task that a pipeline left
        behind."""
        for delivery in list(self.deliveries.values()):
            if not delivery.is_over:
                delivery.is_lost = True
                delivery.end()

    def _become_guest(self) -> None:
        _of_thread.guest = self._guest

    async def _serve(self) -> None:
        while True:
            while self._next not in self.deliveries and not self._is_ending:
                self._due.clear()
                await self._due.wait()
            if self._is_ending:
                break
            delivery = self.deliveries[self._next]
            self._next += 1
            with _turn:
                is_pill = await self._obey(delivery)
            delivery.end()
            if is_pill:
                return
        with _turn:
            await self._close(None)

    async def _obey(self, delivery: PendingCommand) -> bool:
        """Do what an order says; whether it was the pill."""
        order = decode_command(delivery.order)
        delivery.order = b""
        if isinstance(order, Boot):
            for setup in order.setups:
                delivery.report(await self._host.open(setup, self._may_open, self._unfit))
        elif isinstance(order, Batch):
            await self._work(order, delivery)
        else:
            await self._close(delivery)
            return True
        return False

    def _may_open(self) -> bool:
        return not self._is_ending

    async def _work(self, batch: Batch, delivery: PendingCommand) -> None:
        consumer: Consumer = self._host.activate(batch.crawl)
        if batch.definitions:
            consumer.define(batch.definitions)
        tasks = batch.tasks
        if batch.together:
            delivery.begin(tasks[0].id)  # it stands for all of them
            for outcome in await consumer.consume_together(tasks):
                delivery.add(batch.crawl, outcome)
            return
        for task in tasks:
            delivery.begin(task.id)
            delivery.add(batch.crawl, await consumer.consume(task), task is tasks[-1])

    async def _close(self, delivery: PendingCommand | None) -> None:
        for crawl in self._host.crawls:
            closed = await self._host.close(crawl)
            if delivery is not None:
                delivery.report(closed)
