"""The worker's loop: an await that can never end is an error, any other is left alone."""

from __future__ import annotations

import _thread
import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from scrapy_mpworkers.errors import StuckError
from scrapy_mpworkers.worker import loop as worker_loop
from scrapy_mpworkers.worker.loop import WatchfulLoop

LONG = 0.05  # seconds; the loop has long had nothing else to do


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Runs coroutines one after the other in one loop, as a worker does with its items.

    In a thread, since pytest-twisted's own loop runs in this one; all others get names of the
    kind that a worker's own threads have.
    """
    loop = WatchfulLoop(["as-in-a-worker"])  # so that threads of pytest are strangers
    names = {thread: thread.name for thread in threading.enumerate()}
    for thread in names:
        thread.name = "mpworkers-as-in-a-worker"

    with ThreadPoolExecutor(1, "mpworkers-main") as main:

        def run(*works: Coroutine[Any, Any, Any]) -> list[Any]:
            guarded = [loop.guard(work) for work in works]
            running = main.submit(lambda: [loop.run_until_complete(one) for one in guarded])
            return running.result(20)

        yield run

        main.submit(loop.run_until_complete, loop.shutdown_default_executor()).result(20)
    loop.close()
    for thread, name in names.items():
        thread.name = name


async def await_nobody() -> None:
    await asyncio.get_running_loop().create_future()


async def await_a_deferred() -> None:
    await Deferred().asFuture(asyncio.get_running_loop())


async def await_a_thread() -> str:
    return await asyncio.to_thread(slow)


def slow() -> str:
    time.sleep(LONG)
    return "done"


@pytest.mark.parametrize("work", [await_nobody, await_a_deferred])
def test_a_hopeless_await_is_an_error_each_time(run: Any, work: Any) -> None:
    for _ in range(3):
        with pytest.raises(StuckError):
            run(work())


def test_the_next_item_is_none_the_worse_for_it(run: Any) -> None:
    with pytest.raises(StuckError):
        run(await_nobody())

    assert run(asyncio.sleep(0.01, "slept")) == ["slept"]


def test_a_thread_that_an_earlier_item_has_left_idle_may_be_awaited(run: Any) -> None:
    assert run(*(await_a_thread() for _ in range(4))) == ["done"] * 4


def test_idle_threads_of_the_default_executor_give_no_hope(run: Any) -> None:
    run(await_a_thread())

    with pytest.raises(StuckError):
        run(await_nobody())


def test_an_own_executor_may_be_awaited_whose_threads_are_older_than_the_item(run: Any) -> None:
    async def await_own(executor: ThreadPoolExecutor) -> str:
        return await asyncio.wrap_future(executor.submit(slow))

    with ThreadPoolExecutor(1) as executor:
        assert run(*(await_own(executor) for _ in range(3))) == ["done"] * 3


def test_a_thread_older_than_the_item_may_wake_the_loop(run: Any) -> None:
    wanted, came = threading.Event(), []

    def serve() -> None:
        wanted.wait()
        time.sleep(LONG)
        came[0].get_loop().call_soon_threadsafe(came[0].set_result, "served")

    async def await_service() -> str:
        came.append(asyncio.get_running_loop().create_future())
        wanted.set()
        return await came[0]

    thread = threading.Thread(target=serve)
    thread.start()

    assert run(await_service()) == ["served"]
    thread.join()


@pytest.fixture
def native_thread() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls functions in a thread that threading does not know, as those of libraries in Rust."""
    todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    ended = threading.Event()

    def work() -> None:
        try:
            while (call := todo.get()) is not None:
                call()
        finally:
            ended.set()

    _thread.start_new_thread(work, ())
    yield todo.put
    todo.put(None)
    assert ended.wait(20)


def test_a_thread_that_python_does_not_know_may_wake_the_loop(run: Any, native_thread: Any) -> None:
    async def await_library() -> str:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def complete() -> None:
            time.sleep(LONG)
            loop.call_soon_threadsafe(done.set_result, "stored")

        native_thread(complete)
        return str(await done)

    assert run(await_library(), await_library()) == ["stored"] * 2


def test_a_native_thread_gives_hope_for_a_limited_time_only(
    run: Any, native_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_loop, "_IN_DOUBT", LONG)
    for _ in range(2):
        with pytest.raises(StuckError):
            run(await_nobody())


def test_a_native_thread_gives_no_hope_to_who_awaits_a_deferred(
    run: Any, native_thread: Any
) -> None:
    async def await_reactor() -> None:
        await asyncio.ensure_future(await_a_deferred())

    with pytest.raises(StuckError):
        run(await_reactor())


def test_a_native_thread_that_ends_gives_no_hope_any_more(
    run: Any, native_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_loop, "_LOOK_EVERY", LONG)

    async def await_nobody_any_more() -> None:
        native_thread(_thread.exit)
        await await_nobody()

    with pytest.raises(StuckError):
        run(await_nobody_any_more())


@pytest.mark.parametrize("what", ["callback", "timer", "file"])
def test_company_is_whatever_of_a_pipeline_may_be_due(run: Any, what: str) -> None:
    async def meet() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchfulLoop)
        alone = not loop.has_company()
        read, write = os.pipe()
        if what == "callback":
            loop.call_soon(int)
        elif what == "timer":
            loop.call_later(3600, int)
        else:
            loop.add_reader(read, int)
        met = loop.has_company()
        loop.remove_reader(read)
        os.close(read)
        os.close(write)
        return alone, met

    assert run(meet()) == [(True, True)]


def test_a_subprocess_may_be_awaited(run: Any) -> None:
    async def await_program() -> int:
        process = await asyncio.create_subprocess_exec("sleep", str(LONG))
        return await process.wait()

    assert run(await_program()) == [0]
