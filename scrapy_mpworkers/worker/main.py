"""Boots a worker and runs its main loop: get a command, consume its tasks, report."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from typing import NamedTuple, NoReturn

from scrapy_mpworkers.wire.messages import (
    Batch,
    Boot,
    CloseCrawl,
    Command,
    Ending,
    OpenCrawl,
    PoisonPill,
    Report,
    Stacks,
    WorkerConfig,
)
from scrapy_mpworkers.wire.shared_memory import SharedMemory
from scrapy_mpworkers.worker import prelude
from scrapy_mpworkers.worker.channel import (
    CommandReader,
    NoReporter,
    Reporter,
    WorkerChannel,
    cut_off,
    record,
)
from scrapy_mpworkers.worker.crawls import OpenCrawls, Withdrawn, factory_of
from scrapy_mpworkers.worker.ending import leave_handlers_to_the_parent
from scrapy_mpworkers.worker.loop import WatchfulLoop, cancel_the_rest
from scrapy_mpworkers.worker.process import (
    ignore_polite_signals,
    init_worker,
    leave_fork_server,
    run_to_the_end,
)
from scrapy_mpworkers.worker.stacks import all_threads, stacks_of


def main(channel: WorkerChannel, config: WorkerConfig) -> None:
    """Run a worker: this is the target of its ``Process``."""
    loop = WatchfulLoop()
    reporter = Reporter(channel.reports, channel.scoreboard, config.batch_seconds, channel.outbox)
    init_worker(config, partial(_tell_stacks, loop, reporter))
    # Before the loop is set: what runs here may call asyncio.run(), and what it sets in its context
    # (the precision of decimals, for one) is seen by every task of the loop.
    failure = prelude.attempt(config.prelude)
    ignore_polite_signals()  # it may have had handlers of its own for Scrapy's process
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(Worker(loop, channel, reporter, failure).run())
        loop.run_until_complete(cancel_the_rest())
    except Exception as error:  # whatever pipelines raise is an outcome, so this is ours
        cut_off(error)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        # As an interpreter does when it exits: threads first. multiprocessing's bootstrap joins
        # children first, and joblib's end only when its threads are told to.
        threading._shutdown()  # type: ignore[attr-defined]


def _tell_stacks(loop: WatchfulLoop, reporter: Reporter) -> None:
    try:
        text = stacks_of(all_threads(), loop)
    except Exception as error:  # of a task in the middle of a change
        text = f"its stacks cannot be taken: {error!r}"
    reporter.tell(Stacks(text))


def spawned_main(channel: WorkerChannel, config: WorkerConfig) -> NoReturn:
    """Run a worker in an interpreter of its own.

    That would finalize objects in any order at its end: a file that compresses may come after the
    file below it, and then its data are lost.
    """

    def work() -> int:
        main(channel, config)
        return 0

    run_to_the_end(work)


class Inherited(NamedTuple):
    """Things that a worker forked from Scrapy's process has no use for."""

    connections: list[Connection]  #: the parent's ends of all workers
    own_fds: list[int]  #: of memory that it shares with the parent
    memories: list[SharedMemory]  #: of others


def forked_main(inherited: Inherited, channel: WorkerChannel, config: WorkerConfig) -> None:
    """Run a worker that begins as a copy of Scrapy's process.

    It closes the ends of other workers first, or a dead one would never give EOF.
    """
    leave_handlers_to_the_parent()
    leave_fork_server()
    for end in inherited.connections:
        end.close()
    for memory in inherited.memories:
        memory.close()
    for fd in inherited.own_fds:
        with suppress(OSError):
            os.close(fd)
    main(channel, config)


class Worker:
    """Lives through the boot, batches for the crawls that it serves, and the pill.

    Args:
        unfit: why no pipeline can be opened here, if something has failed before.
    """

    def __init__(
        self,
        loop: WatchfulLoop,
        channel: WorkerChannel,
        reporter: Reporter,
        unfit: Exception | None = None,
    ) -> None:
        self._loop = loop
        self._commands = CommandReader(channel.commands, channel.arena)
        self._scoreboard = channel.scoreboard
        self._reporter: Reporter | NoReporter = reporter
        os.register_at_fork(after_in_child=self._is_forked)
        self._start_lock = channel.start_lock
        self._has_start_lock = False
        self._unfit = unfit
        self._crawls = OpenCrawls(loop)

    async def run(self) -> None:
        boot = await self._next_command()
        if not isinstance(boot, Boot):
            return  # the pool stopped before this worker was of use
        for setup in boot.setups:
            with suppress(Exception):  # the same error comes again when the consumers are built
                factory_of(setup)  # imports what takes long, and is not the user's
        with self._start_lock:  # free as soon as it is this worker's turn
            pass
        try:
            for setup in boot.setups:
                await self._open(setup)
        except Withdrawn:
            return
        if not self._crawls.crawls:
            return
        ending = await self._serve()
        for crawl in self._crawls.crawls:
            await self._close(crawl, ending)

    async def _open(self, setup: OpenCrawl) -> None:
        opening = self._crawls.open(setup, self._may_open, self._unfit)
        await self._report_on(setup.crawl, opening)

    async def _close(self, crawl: int, ending: Ending) -> None:
        await self._report_on(crawl, self._crawls.close(crawl, ending))

    async def _report_on(self, crawl: int, work: Awaitable[Report]) -> None:
        """Await *work*, which opens or closes consumers of a crawl, and send its report."""
        record(self._scoreboard, -1, monotonic(), crawl)
        report = await work
        record(self._scoreboard, -1, 0.0, crawl)
        self._reporter.send(report)

    def _may_open(self) -> bool:
        self._has_start_lock = self._has_start_lock or self._start_lock.acquire(block=False)
        return self._has_start_lock

    async def _serve(self) -> Ending:
        """Do what comes until the pill, and return what it says."""
        while True:
            command = await self._next_command()
            if isinstance(command, Batch):
                await self._work(command)
            elif isinstance(command, OpenCrawl):
                await self._open(command)
            elif isinstance(command, CloseCrawl):
                await self._close(command.crawl, command.ending)
            else:
                assert isinstance(command, PoisonPill)
                return command.ending

    async def _work(self, batch: Batch) -> None:
        consumer = self._crawls.activate(batch.crawl)
        self._reporter.begin(batch.crawl)
        if batch.definitions:
            # The definitions are of the first task's item, as far as anybody can tell.
            record(self._scoreboard, batch.rows[0][0], monotonic())
            consumer.define(batch.definitions)
        *tasks, last = batch.tasks
        if batch.batched:
            first = batch.rows[0][0]  # it stands for all of them
            begins = partial(self._begins, first)
            outcomes = await consumer.consume_batched([*tasks, last], begins)
            record(self._scoreboard, first, 0.0)
            self._reporter.flush(*outcomes)
            return
        # From one task to the next the scoreboard is not idle for a moment.
        for task in tasks:
            record(self._scoreboard, task.id, monotonic())
            outcome = await consumer.consume(task)
            self._reporter.add(outcome)  # looked up only now: a fork has another one
        record(self._scoreboard, last.id, monotonic())
        outcome = await consumer.consume(last)
        record(self._scoreboard, last.id, 0.0)
        self._reporter.flush(outcome)

    def _begins(self, task_id: int) -> None:
        record(self._scoreboard, task_id, monotonic())

    def _is_forked(self) -> None:
        """Keep a process that a pipeline has forked from working on as a second worker of this
        channel, should the pipeline return there."""
        self._scoreboard = [0.0] * 4
        self._reporter = NoReporter()

    async def _next_command(self) -> Command:
        """Wait for the next message, and let the user's own asyncio tasks run meanwhile.

        They get a turn between two messages as well.
        """
        self._commands.release()
        if self._commands.has_message():
            if self._loop.has_company():
                await asyncio.sleep(0)
        else:
            arrived = self._loop.create_future()
            self._loop.add_reader(self._commands.fd, arrived.set_result, None)
            try:
                await arrived
            finally:
                # Not kept registered: a waiting message would wake the loop again and again
                # while an item is being awaited.
                self._loop.remove_reader(self._commands.fd)
        return self._commands.get()
