"""Starts that fail: for a while, for good, half-way."""

from __future__ import annotations

import logging
import os
import signal
from time import monotonic

import pytest

from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.messages import WorkerConfig

from . import refusing
from .harness import PRELOAD, open_fds, quick
from .shortage import Forks, no_descriptors
from .work import Square, TakeSeconds


@pytest.fixture
def forks(monkeypatch, tmp_path):
    return Forks(monkeypatch, tmp_path)


def kill_one(bench):
    """Kill a worker; the other one is returned."""
    victim, healthy = bench.pids
    deaths = sum(bench.metrics.deaths.values())
    os.kill(victim, signal.SIGKILL)
    bench.until(lambda: sum(bench.metrics.deaths.values()) > deaths, "the death is known")
    return healthy


def complaints(caplog):
    return [r.getMessage() for r in caplog.records if "could not be started" in r.getMessage()]


@pytest.mark.full
@quick("forkserver", "spawn", "fork")
def test_pool_with_a_living_worker_goes_on_while_no_file_can_be_opened(make_bench, method, caplog):
    bench = make_bench(method).start()

    with no_descriptors():
        healthy = kill_one(bench)
        bench.wait_seconds(0.5)
        meanwhile = bench.run(*(Square(n) for n in range(20)))
        pids = bench.pids
    bench.until_manned()

    assert meanwhile == [n**2 for n in range(20)]
    assert pids == [healthy]
    assert bench.events.errors == []
    [complaint] = complaints(caplog)  # though it was tried again and again
    assert "Too many open files: this process may have 3 (ulimit -n)" in complaint
    assert bench.run(Square(4)) == [16]
    bench.stop().assert_books()


@quick("forkserver", "spawn", "fork")
def test_pool_with_a_living_worker_goes_on_while_nothing_can_be_forked(
    make_bench, method, forks, caplog
):
    bench = make_bench(method, preload=[*PRELOAD, refusing.__name__]).start()
    server = bench.server.pid if method == "forkserver" else None

    with forks.failing():
        healthy = kill_one(bench)
        bench.wait_seconds(0.5)
        meanwhile = bench.run(*(Square(n) for n in range(20)))
    bench.until_manned()

    assert meanwhile == [n**2 for n in range(20)]
    assert healthy in bench.pids
    assert bench.metrics.deaths == {"SIGKILL": 1}
    assert server is None or bench.server.pid == server  # it has survived its failing forks
    [complaint] = complaints(caplog)
    assert "(ulimit -u)" in complaint
    assert bench.events.errors == []
    assert forks.refused <= 5  # each pause is longer than the one before
    bench.stop().assert_books()


@quick("fork", "forkserver", "spawn")
def test_pool_that_has_lost_its_only_worker_waits_for_a_shortage_to_end(make_bench, method):
    bench = make_bench(method, workers=1).start()
    (victim,) = bench.pids

    with no_descriptors():
        os.kill(victim, signal.SIGKILL)
        bench.until(lambda: not bench.manager.handles, "there is no worker")
        ids = bench.submit(Square(5))
        bench.wait_seconds(1.5)  # longer than a pool would try that never had any
    bench.until_settled()

    assert [bench.result(n) for n in ids] == [25]
    bench.stop().assert_books()


@quick("fork", "forkserver", "spawn")
def test_pool_that_cannot_start_any_worker_says_so_in_one_sentence(make_bench, method, caplog):
    bench = make_bench(method)

    with no_descriptors():
        begun = monotonic()
        bench.begin()
        (waiting,) = bench.submit(Square(1))
        bench.until(lambda: bool(bench.events.errors), "the pool is broken")
        took = monotonic() - begun
    bench.until_settled()

    [error] = bench.events.errors
    assert "no worker can be started: Too many open files: this process may have 3" in str(error)
    assert "Raise that limit" in str(error)
    assert str(bench.error(waiting)) == str(error)
    assert len(complaints(caplog)) == 1
    assert took < 5.0
    bench.stop().assert_books()


@quick("spawn", "forkserver")
def test_start_that_can_never_work_is_tried_once(make_bench, method, caplog):
    cannot_cross = WorkerConfig(0, (), None, batch_seconds=lambda: 0)  # type: ignore[arg-type]
    bench = make_bench(method, config=cannot_cross, workers=3)

    bench.begin()
    bench.until(lambda: bool(bench.events.errors), "the pool is broken")
    bench.until(lambda: not bench.manager.handles, "nothing is tried any more")

    [error] = bench.events.errors
    assert "no worker can be started" in str(error)
    assert "lambda" in str(error)
    assert complaints(caplog) == []
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR and r.exc_info]


@quick("fork", "spawn")
def test_stop_while_a_place_waits_for_its_next_start_ends_all(make_bench, method):
    bench = make_bench(method).start()

    with no_descriptors():
        kill_one(bench)
        bench.wait_seconds(0.3)
        bench.stop()

    bench.assert_books()


@pytest.mark.full
@quick("fork", "spawn")
def test_worker_whose_relief_cannot_be_started_works_on(make_bench, method):
    bench = make_bench(method, workers=1, max_items=5).start()
    (old,) = bench.pids

    with no_descriptors():
        bench.run(*(Square(n) for n in range(20)))
        bench.wait_seconds(0.3)
        assert bench.pids == [old]
        os.kill(old, signal.SIGKILL)
        bench.until(lambda: not bench.pids, "its death is known")
        bench.wait_seconds(0.3)
    bench.until(lambda: len(bench.pids) == 1 and bench.pids != [old], "a relief is there")

    assert len(bench.manager.handles) == 1  # one for the slot, though two were called for
    assert bench.run(TakeSeconds(0.01)) == [None]
    bench.stop().assert_books()


def starts(handle, processes):
    try:
        handle.start(processes, ())
    except OSError:
        return False
    return True


@pytest.mark.parametrize("method", ["fork"])
def test_start_that_fails_half_way_leaves_nothing_open(make_bench, method):
    processes = make_bench(method).processes
    processes.take_server()
    before, failures, lowest = open_fds(), 0, os.dup(0)
    os.close(lowest)

    for limit in range(lowest, lowest + 100):
        handle = ProcessHandle("lane", 0, 0)
        with no_descriptors(but=limit):
            is_started = starts(handle, processes)
        if is_started:
            break
        failures += 1
        assert open_fds() == before, limit
    handle.undo()
    assert open_fds() == before
    processes.close()

    assert failures >= 3
