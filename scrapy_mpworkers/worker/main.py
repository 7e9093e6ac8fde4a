"""Boot and main loop of a worker: get an order, consume its tasks, report."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.queues import JoinableQueue
from multiprocessing.synchronize import Lock
from time import monotonic
from typing import Any, NamedTuple, NoReturn, Protocol

from scrapy_mpworkers.wire.arena import Arena
from scrapy_mpworkers.wire.messages import (
    POISON_PILL,
    Batch,
    Boot,
    CloseCrawl,
    Command,
    OpenCrawl,
    Outcome,
    Task,
)
from scrapy_mpworkers.worker import prelude
from scrapy_mpworkers.worker.crawls import Consumers, OpenCrawls, OwnTasks, Withdrawn, factory_of
from scrapy_mpworkers.worker.ends import cut_off
from scrapy_mpworkers.worker.inbox import CommandReader
from scrapy_mpworkers.worker.loop import WatchfulLoop
from scrapy_mpworkers.worker.process import WorkerConfig, ignore_polite_signals, init_worker
from scrapy_mpworkers.worker.reporter import NoReporter, Reporter


class Scoreboard(Protocol):
    """Shared memory: [sequence number, last task begun or -1, start or 0, crawl or -1].

    The crawl is the one whose consumers are being opened or closed. The task or the crawl is at
    work if there is a start. Once it is over it stays on the dial: that may not have been reported
    yet. The sequence number is odd while the others are written. The start is
    ``time.monotonic()``, a clock that all processes of a machine share.
    """

    def __getitem__(self, index: int) -> float: ...
    def __setitem__(self, index: int, value: float) -> None: ...


class WorkerChannel(NamedTuple):
    """A worker's ends of its lane. ``permit``: to be taken before the consumers are opened."""

    orders: JoinableQueue[Any]
    arena: Arena | None
    reports: Connection
    scoreboard: Scoreboard
    permit: Lock


def main(ends: WorkerChannel, conditions: WorkerConfig) -> None:
    """The target of a worker's ``Process``."""
    init_worker(conditions)
    # Before there is a loop: what runs here may call asyncio.run(), and what it sets in its context
    # (the precision of decimals, for one) is seen by every task of the loop.
    failure = prelude.attempt(conditions.prelude)
    ignore_polite_signals()  # it may have had handlers of its own for Scrapy's process
    loop = WatchfulLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(Worker(loop, ends, conditions.batch_seconds, failure).run())
        loop.run_until_complete(_cancel_the_rest())
    except Exception as error:  # whatever pipelines raise is an outcome, so this is ours
        cut_off(error)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        # As an interpreter does when it exits: threads first. multiprocessing's bootstrap joins
        # children first, and joblib's end only when its threads are told to.
        threading._shutdown()  # type: ignore[attr-defined]


class Worker:
    """One life: the boot, batches for the crawls that it serves, the pill.

    Args:
        unfit: why no pipeline can be opened here, if something has failed before.
    """

    def __init__(
        self,
        loop: WatchfulLoop,
        ends: WorkerChannel,
        batch_seconds: float,
        unfit: Exception | None = None,
    ) -> None:
        self._loop = loop
        self._inbox = CommandReader(ends.orders, ends.arena)
        self._scoreboard = ends.scoreboard
        self._reporter: Reporter | NoReporter = Reporter(
            ends.reports, batch_seconds, self._cannot_report
        )
        os.register_at_fork(after_in_child=self._is_forked)
        self._permit = ends.permit
        self._has_permit = False
        self._unfit = unfit
        self._host = OpenCrawls(loop.guard, self._may_open, OwnTasks(loop))

    async def run(self) -> None:
        boot = await self._next_order()
        if not isinstance(boot, Boot):
            return  # the pool stopped before this worker was of use
        for setup in boot.setups:
            with suppress(Exception):  # it comes again when they are built
                factory_of(setup)  # imports what takes long, and is not the user's
        with self._permit:  # free as soon as it is this worker's turn
            pass
        try:
            await self._open(boot.setups)
        except Withdrawn:
            return
        if not self._host.crawls:
            return
        await self._serve()
        for crawl in self._host.crawls:
            await self._close(crawl)

    async def _open(self, setups: Iterable[OpenCrawl]) -> None:
        for setup in setups:
            _turn(self._scoreboard, -1, monotonic(), setup.crawl)
            report = await self._host.open(setup, self._unfit)
            _turn(self._scoreboard, -1, 0.0, setup.crawl)
            self._reporter.send(report)

    async def _close(self, crawl: int) -> None:
        _turn(self._scoreboard, -1, monotonic(), crawl)
        report = await self._host.close(crawl)
        _turn(self._scoreboard, -1, 0.0, crawl)
        self._reporter.send(report)

    def _may_open(self) -> bool:
        self._has_permit = self._has_permit or self._permit.acquire(block=False)
        return self._has_permit

    async def _serve(self) -> None:
        while True:
            order = await self._next_order()
            if isinstance(order, Batch):
                await self._work(order)
            elif isinstance(order, OpenCrawl):
                await self._open([order])
            elif isinstance(order, CloseCrawl):
                await self._close(order.crawl)
            else:
                assert order is POISON_PILL
                return

    async def _work(self, batch: Batch) -> None:
        consumers = self._host.consumers(batch.crawl)
        self._reporter.begin(batch.crawl)
        if batch.definitions:
            # Code of the first task's item, as far as anybody can tell.
            _turn(self._scoreboard, batch.rows[0][0], monotonic())
            consumers.define(batch.definitions)
        if batch.together:
            outcomes = await self._consume_together(consumers, batch.tasks)
            self._reporter.flush(*outcomes)
            return
        # From one task to the next the dial is not idle for a moment.
        *tasks, last = batch.tasks
        for task in tasks:
            _turn(self._scoreboard, task.id, monotonic())
            outcome = await consumers.consume(task)
            self._reporter.add(outcome)  # looked up only now: a fork has another one
        _turn(self._scoreboard, last.id, monotonic())
        outcome = await consumers.consume(last)
        _turn(self._scoreboard, last.id, 0.0)
        self._reporter.flush(outcome)

    async def _consume_together(self, consumers: Consumers, tasks: Sequence[Task]) -> list[Outcome]:
        _turn(self._scoreboard, tasks[0].id, monotonic())  # it stands for all of them
        outcomes = await consumers.consume_together(tasks)
        _turn(self._scoreboard, tasks[0].id, 0.0)
        return outcomes

    def _cannot_report(self, error: BaseException) -> NoReturn:
        # The task on the dial may be innocent: one before it may have broken the pipe.
        self._scoreboard[2] = 0.0
        cut_off(error)

    def _is_forked(self) -> None:
        """A pipeline has forked, and this is the child. Should it return, it must not work on as a
        second worker on the same lane."""
        self._scoreboard = [0.0] * 4
        self._reporter = NoReporter()

    async def _next_order(self) -> Command:
        """The next message. While none is there the loop runs, for the user's own asyncio tasks.

        They get a turn between two messages as well.
        """
        self._inbox.release()
        if self._inbox.has_message():
            if self._loop.has_company():
                await asyncio.sleep(0)
        else:
            arrived = self._loop.create_future()
            self._loop.add_reader(self._inbox.fd, arrived.set_result, None)
            try:
                await arrived
            finally:
                # Not kept registered: a waiting message would wake the loop again and again
                # while an item is being awaited.
                self._loop.remove_reader(self._inbox.fd)
        return self._inbox.get()


async def _cancel_the_rest() -> None:
    """End the tasks that pipelines have left, as ``asyncio.run`` does."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _turn(scoreboard: Scoreboard, task_id: int, started: float, crawl: int = -1) -> None:
    scoreboard[0] += 1
    scoreboard[1] = task_id
    scoreboard[2] = started
    scoreboard[3] = crawl
    scoreboard[0] += 1
