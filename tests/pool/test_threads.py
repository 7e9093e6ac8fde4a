"""Threads of ours that die: whoever waits for them hears of it."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

import pytest

from .harness import await_end, comes_true, own_threads, quick
from .work import Carry, Square


def end_soon(name: str) -> None:
    """The thread ends as soon as it has something to do."""
    [thread] = [one for one in threading.enumerate() if one.name == name]
    set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_error(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)) == 1


@quick("forkserver", "spawn", "fork")
def test_crawl_whose_starter_thread_has_died_ends_with_an_error_that_says_so(make_bench, method):
    bench = make_bench(method).start()
    held = bench.submit(*[bench.say_and_wait()] * 2)
    victim, _ = bench.until_said("running", times=2)

    end_soon("mpworkers-starter")
    os.kill(victim, signal.SIGKILL)
    bench.until(lambda: bool(bench.events.errors), "the pool is broken")

    assert "the thread that starts workers has ended: SystemExit()" in str(bench.events.errors[0])
    assert all("has ended" in str(bench.error(n)) for n in held)
    bench.stop().assert_books()


@quick("fork", "forkserver")
def test_starter_thread_that_dies_at_the_stop_keeps_nobody_waiting(make_bench, method):
    bench = make_bench(method).start()
    pids = bench.pids
    assert bench.run(Square(2)) == [4]

    end_soon("mpworkers-starter")
    bench.stop()

    assert bench.events.errors == []
    assert comes_true(lambda: not own_threads())
    await_end(pids)


@pytest.fixture
def no_threads(monkeypatch):
    """To be called: from then on the system gives no more threads."""
    real = threading.Thread.start

    def start(thread):
        if thread.name.startswith("mpworkers-"):
            raise RuntimeError("can't start new thread")
        real(thread)

    return lambda: monkeypatch.setattr(threading.Thread, "start", start)


def test_crawl_that_gets_no_starter_thread_ends_with_an_error_that_says_so(make_bench, no_threads):
    bench = make_bench("spawn")
    no_threads()

    bench.begin()
    (waiting,) = bench.submit(Square(1))
    bench.until_settled()

    [error] = bench.events.errors
    assert "can't start new thread" in str(error)
    assert str(bench.error(waiting)) == str(error)
    bench.stop().assert_books()


@quick("fork", "forkserver", "spawn")
def test_message_for_which_there_is_no_thread_goes_another_way(
    make_bench, method, no_threads, monkeypatch
):
    monkeypatch.setattr("scrapy_mpworkers.pool.timeouts.STUCK_SECONDS", 0.4)
    bench = make_bench(method, workers=1).start()

    no_threads()
    held, large = bench.submit(bench.say_and_wait(), Carry(bytes(20_000_000)))
    bench.until_said("running")
    bench.gate.open_for(1)
    bench.until_settled([held])
    bench.until(lambda: bench.metrics.deaths == {"SIGKILL": 1}, "the lane counts as stuck")
    monkeypatch.undo()
    bench.until_settled()

    assert bench.result(large) == 20_000_000
    assert bench.events.errors == []
    bench.stop().assert_books()


@pytest.mark.parametrize("method", ["spawn"])
def test_start_that_never_comes_back_does_not_keep_a_stop_waiting(make_bench, monkeypatch, method):
    bench = make_bench(method)
    monkeypatch.setattr("scrapy_mpworkers.pool.supervisor.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("scrapy_mpworkers.pool.supervisor.LAST_SECONDS", 0.1)
    monkeypatch.setattr("scrapy_mpworkers.pool.supervisor.RELEASE_SECONDS", 0.1)
    hangs = threading.Event()
    real = bench.processes.start
    monkeypatch.setattr(bench.processes, "start", lambda *args: hangs.wait() and real(*args))

    bench.begin()
    bench.stop(timeout=0.1)
    hangs.set()

    assert comes_true(lambda: not own_threads())
