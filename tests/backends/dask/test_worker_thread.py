"""A worker thread in a process that is not ours: commands in, reports out."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from pool import consumers
from pool.consumers import Behaviour

from scrapy_mpworkers.backends.dask import worker_thread
from scrapy_mpworkers.backends.dask.worker_thread import WorkerThread
from scrapy_mpworkers.wire.frames import decode_report, encode_command
from scrapy_mpworkers.wire.messages import (
    Answer,
    Batch,
    Boot,
    Closed,
    Command,
    Ending,
    OpenCrawl,
    Opened,
    Outcome,
    Outcomes,
    PoisonPill,
)
from scrapy_mpworkers.worker.prelude import IN_WORKER

REASONS: list[str] = []


def hear(reason: str) -> None:
    REASONS.append(reason)


BOOT = Boot((OpenCrawl(0, (), "pool.consumers", pickle.dumps(Behaviour(hear=hear))),))


@pytest.fixture(autouse=True)
def worker_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a worker for a while, and none again when the test ends."""
    monkeypatch.setenv(IN_WORKER, "1")


def run(test: Callable[[WorkerThread], Coroutine[Any, Any, None]]) -> None:
    """Run *test* with a worker thread, as the loop of Dask's worker would; leave none behind."""

    async def main() -> None:
        worker = WorkerThread()
        try:
            await test(worker)
        finally:
            worker.end()
        await asyncio.to_thread(worker.thread.join, 10)
        assert not worker.thread.is_alive()

    async def in_time() -> None:
        await asyncio.wait_for(main(), 30)

    # In a thread: the reactor runs in this one.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: asyncio.run(in_time())).result()


def put(
    worker: WorkerThread, number: int, command: Command, limits: dict[int, float] | None = None
) -> None:
    worker.put(number, b"".join(encode_command(command)), limits or {})


def batch(*functions: Callable[[], Any], first: int = 0) -> Batch:
    rows = [
        (first + n, 0, pickle.dumps(function), (), None) for n, function in enumerate(functions)
    ]
    return Batch(0, (), tuple(rows))


def settled(answer: Answer | None) -> list[int]:
    assert answer is not None
    reports = [
        report for report in map(decode_report, answer.reports) if isinstance(report, Outcomes)
    ]
    return [Outcome(*row).task_id for report in reports for row in report.rows]


def test_commands_are_run_and_the_pill_closes() -> None:
    async def test(worker: WorkerThread) -> None:
        REASONS.clear()
        put(worker, 0, BOOT)
        opened = await worker.answer(0)
        put(worker, 1, batch(int, str, list))
        done = await worker.answer(1)
        put(worker, 2, PoisonPill(Ending("shutdown", b"")))
        closed = await worker.answer(2)

        assert opened is not None and isinstance(decode_report(opened.reports[0]), Opened)
        assert settled(done) == [0, 1, 2]
        assert done is not None and done.is_last
        assert closed is not None and isinstance(decode_report(closed.reports[0]), Closed)
        assert REASONS == ["shutdown"]
        assert worker.pending == {}

    run(test)


def test_commands_that_come_in_the_wrong_order_are_run_in_the_right_one() -> None:
    came: list[int] = []

    async def test(worker: WorkerThread) -> None:
        put(worker, 2, batch(partial(print, end=""), first=20))
        put(worker, 1, batch(int, first=10))
        put(worker, 0, BOOT)
        for number in (2, 1, 0):
            came.append(number)
            await worker.answer(number)

    run(test)

    assert came == [2, 1, 0]


def test_what_is_ready_does_not_wait_for_a_slow_item(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker_thread, "PATIENCE", 0.1)

    async def test(worker: WorkerThread) -> None:
        put(worker, 0, BOOT)
        await worker.answer(0)
        put(worker, 1, batch(int, int, partial(time.sleep, 1.0)))

        early = await worker.answer(1)
        late = await worker.answer(1)

        assert settled(early) == [0, 1]
        assert early is not None and not early.is_last
        assert settled(late) == [2]
        assert late is not None and late.is_last

    run(test)


def test_a_task_that_takes_too_long_is_told_while_it_runs() -> None:
    async def test(worker: WorkerThread) -> None:
        put(worker, 0, BOOT)
        await worker.answer(0)
        put(worker, 1, batch(int, partial(time.sleep, 1.0)), {0: 0.2, 1: 0.2})

        answer = await worker.answer(1)

        assert answer is not None and answer.overdue == 1
        assert settled(answer) == [0]

    run(test)


def test_a_worker_that_is_let_go_while_it_builds_consumers_ends_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = consumers.build

    async def test(worker: WorkerThread) -> None:
        def build_late(*args: Any) -> consumers.Consumers:
            worker.end()
            return build(*args)

        monkeypatch.setattr(consumers, "build", build_late)

        put(worker, 0, BOOT)

        assert await worker.answer(0) is None

    run(test)  # an error of its thread would fail it


def test_worker_threads_of_one_process_take_turns() -> None:
    at_once: list[int] = []

    async def test(worker: WorkerThread) -> None:
        other = WorkerThread()
        for one in (worker, other):
            put(one, 0, BOOT)
            await one.answer(0)
        for one in (worker, other):
            put(one, 1, batch(*[partial(_note)] * 5))
        answers = [await one.answer(1) for one in (worker, other)]
        for answer in answers:
            assert answer is not None
            [report] = map(decode_report, answer.reports)
            assert isinstance(report, Outcomes)
            at_once.extend(pickle.loads(Outcome(*row).result) for row in report.rows)
        other.end()
        await asyncio.to_thread(other.thread.join, 10)

    run(test)

    assert at_once == [1] * 10


def test_a_worker_whose_thread_ends_loses_what_it_had() -> None:
    async def test(worker: WorkerThread) -> None:
        put(worker, 0, BOOT)
        await worker.answer(0)
        put(worker, 1, batch(_exit_later, partial(time.sleep, 0.1)))
        await worker.answer(1)
        await asyncio.to_thread(worker.thread.join, 10)

        put(worker, 2, batch(int))

        assert await worker.answer(2) is None

    hook = threading.excepthook
    threading.excepthook = lambda arguments: None
    try:
        run(test)
    finally:
        threading.excepthook = hook


_working: list[int] = []


def _note() -> int:
    _working.append(1)
    time.sleep(0.01)
    count = len(_working)
    _working.pop()
    return count


def _exit_later() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
