"""A seat: one crawl's consumers of one level as a guest in a process that is not ours.

They live in a thread of their own, on an asyncio loop as in a worker of ours. Orders come from the
host's loop and reports go back there. Seats of one process take turns: pipelines are not made for
threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple

from scrapy_mpworkers.wire.messages import (
    Answer,
    Batch,
    Boot,
    Outcome,
    Outcomes,
    Report,
    decode_order,
    encode,
)
from scrapy_mpworkers.worker.host import Consumers, Host
from scrapy_mpworkers.worker.loop import WatchfulLoop

#: Seconds after which what is ready of a batch goes back without the rest.
PATIENCE = 1.0

#: Threads that a cluster may start at any time, and that never wake a seat's loop.
_OF_THE_HOST = ("Dask-", "TCP-Executor", "ThreadPoolExecutor", "Profile", "IO loop", "Offload")

_turn = threading.Lock()  # of the process: one seat at a time runs pipelines
_guest = threading.local()


def guest_of_thread() -> str:
    """The name of the seat whose thread this is; empty if it is none's."""
    return getattr(_guest, "name", "")


class Running(NamedTuple):
    """The task at work, and since when, ``time.monotonic()``."""

    task_id: int
    since: float


class Delivery:
    """An order at a seat, and what has come of it so far. Made in the host's loop.

    Args:
        limits: seconds that its tasks may take, by their ids; those without may take any time.
    """

    def __init__(self, number: int, order: bytes, limits: Mapping[int, float]) -> None:
        self.number = number
        self.order = order
        self.is_over = False
        self.is_lost = False  #: its seat has ended before it was done
        self.running: Running | None = None
        self._limits = limits
        self._crawl = 0
        self._reports: deque[Report] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._is_late = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # In the seat's thread

    def begin(self, task_id: int) -> None:
        """A task begins."""
        self.running = Running(task_id, monotonic())

    def add(self, crawl: int, outcome: Outcome, is_last: bool = False) -> None:
        """A task is over; the last one goes with the end that follows."""
        self.running = None
        self._crawl = crawl
        self._outcomes.append(outcome)
        if self._is_late and not is_last:
            self._notify()

    def report(self, report: Report) -> None:
        """Something else has happened."""
        self._reports.append(report)

    def end(self) -> None:
        """There is no more to come."""
        self.is_over = True
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(RuntimeError):  # the host's loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._changed.set)

    # In the host's loop

    async def answer(self) -> Answer:
        """All reports; or what is ready when patience is over; or the task that takes too long."""
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
        return Answer(tuple(map(encode, reports)), is_last, overdue)

    def _overdue(self, now: float) -> int | None:
        running = self.running
        if running is None:
            return None
        limit = self._limits.get(running.task_id)
        return running.task_id if limit and now - running.since >= limit else None

    def _pause(self, now: float, patience: float) -> float | None:
        """Seconds until it must be looked at again, whatever happens."""
        pauses = [patience - now] * (not self._is_late)
        if self._limits:
            running, shortest = self.running, min(self._limits.values())
            limit = shortest if running is None else self._limits.get(running.task_id, shortest)
            since = now if running is None else running.since
            pauses.append(max(0.001, since + limit - now))
        return min(pauses, default=None)


class Seat:
    """Takes deliveries in the order of their numbers, from 0."""

    def __init__(self, name: str) -> None:
        self.deliveries: dict[int, Delivery] = {}
        self._name = name
        self._next = 0
        self._is_ending = False
        bystanders = {thread.name for thread in threading.enumerate()}
        self._loop = WatchfulLoop((*bystanders, *_OF_THE_HOST))
        self._host = Host(self._loop.guard, lambda: not self._is_ending)
        self._due = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="mpworkers-seat", daemon=True)
        self.thread.start()

    # In the host's loop

    def put(self, delivery: Delivery) -> None:
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
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(_cancel_the_rest())
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
        _guest.name = self._name

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

    async def _obey(self, delivery: Delivery) -> bool:
        """Do what an order says; whether it was the pill."""
        order = decode_order(delivery.order)
        delivery.order = b""
        if isinstance(order, Boot):
            for setup in order.setups:
                delivery.report(await self._host.open(setup))
        elif isinstance(order, Batch):
            await self._work(order, delivery)
        else:
            await self._close(delivery)
            return True
        return False

    async def _work(self, batch: Batch, delivery: Delivery) -> None:
        consumers: Consumers = self._host.consumers(batch.crawl)
        if batch.definitions:
            consumers.define(batch.definitions)
        tasks = batch.tasks
        if batch.together:
            delivery.begin(tasks[0].id)  # it stands for all of them
            for outcome in await consumers.consume_together(tasks):
                delivery.add(batch.crawl, outcome)
            return
        for task in tasks:
            delivery.begin(task.id)
            delivery.add(batch.crawl, await consumers.consume(task), task is tasks[-1])

    async def _close(self, delivery: Delivery | None) -> None:
        for crawl in self._host.crawls:
            closed = await self._host.close(crawl)
            if delivery is not None:
                delivery.report(closed)


async def _cancel_the_rest() -> None:
    """End the tasks that pipelines have left, as ``asyncio.run`` does."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
