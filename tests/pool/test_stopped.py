"""Workers that do not die but stop, and the server that goes away under them."""

from __future__ import annotations

import os
import signal

import pytest

from scrapy_mpworkers.errors import WorkerDied
from scrapy_mpworkers.pool import timeouts

from .consumers import Behaviour
from .harness import await_end, comes_true, is_stopped, quick, rotated
from .saboteurs import ExitsWithCode, HalfReport, Segfaults
from .work import ComputesAfterwards, FirstTime, InTurn, Square, TakeSeconds


@pytest.fixture
def stuck_after(monkeypatch):
    return lambda seconds: monkeypatch.setattr(timeouts, "STUCK_SECONDS", seconds)


@rotated()
def test_stopped_idle_worker_is_killed_and_nothing_is_charged(make_bench, method, stuck_after):
    stuck_after(0.6)
    bench = make_bench(method, redeliver_times=0).start()
    stopped, other = bench.pids
    os.kill(stopped, signal.SIGSTOP)

    results = bench.run(*(Square(n) for n in range(20)))

    assert results == [n**2 for n in range(20)]
    bench.until(lambda: bench.metrics.deaths == {"SIGKILL": 1}, "the stopped worker is replaced")
    assert stopped not in bench.until_manned().pids
    assert other in bench.pids
    bench.stop().assert_books()


@rotated()
def test_busy_worker_is_never_taken_for_stuck(make_bench, method, stuck_after):
    stuck_after(0.2)
    bench = make_bench(method, workers=1).start()

    # The second task is ahead in the lane for all the time that the first one takes.
    bench.run(TakeSeconds(1.0), Square(3), Square(4))

    assert bench.metrics.deaths == {}


@rotated()
def test_worker_whose_background_task_computes_is_not_taken_for_stuck(
    make_bench, method, stuck_after, tmp_path, caplog
):
    stuck_after(0.4)
    bench = make_bench(method, workers=1).start()
    (pid,) = bench.pids

    bench.run(ComputesAfterwards(2.0, str(tmp_path / "stored"), bench.say("computing")))
    bench.until_said("computing")
    results = bench.run(Square(3), Square(4))

    assert results == [9, 16]
    assert (tmp_path / "stored").read_text() == str(pid)
    assert bench.metrics.deaths == {}
    (told,) = [r.getMessage() for r in caplog.records if "keeps its event loop" in r.getMessage()]
    assert told.splitlines()[-1].endswith("_compute")


@rotated()
def test_worker_whose_background_task_computes_for_longer_than_an_item_may_is_killed(
    make_bench, method, stuck_after, tmp_path
):
    stuck_after(0.4)
    bench = make_bench(method, workers=1, item_timeout=1.0).start()

    bench.run(ComputesAfterwards(1000.0, str(tmp_path / "stored"), bench.say("computing")))
    bench.until_said("computing")
    results = bench.run(Square(3))

    assert results == [9]
    assert bench.metrics.deaths == {"SIGKILL": 1}


@rotated(plain=False)
def test_worker_that_comes_to_a_task_late_is_not_taken_for_stuck(make_bench, method, stuck_after):
    # The second message waits behind a long task; then its definition takes a while to load. At
    # that moment the dial is idle and the lease is old, but the worker is at work.
    stuck_after(2.0)
    bench = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(define=TakeSeconds(0.7))
    ).start()
    bench.blobs[0] = b"a definition"

    ids = bench.submit(InTurn((bench.say("running"), TakeSeconds(2.5))))
    bench.until_said("running")
    ids += bench.submit(Square(3), needs=(0,))
    bench.until_settled(ids)

    assert bench.metrics.deaths == {}


@rotated()
def test_worker_stopped_in_the_middle_of_a_report_stalls_no_other_handle(make_bench, method):
    bench = make_bench(method).start()
    (large,) = bench.submit(InTurn((bench.say("running"), HalfReport(signal.SIGSTOP, 50_000_000))))
    (stopped,) = bench.until_said("running")
    assert comes_true(lambda: bench.wait_seconds(0.01) and is_stopped(stopped))

    # One after the other: the other lane is idle each time, so it gets them all.
    results = [bench.run(Square(n))[0] for n in range(20)]
    still_pending = bench.pool.pending
    os.kill(stopped, signal.SIGCONT)
    bench.until_settled()

    assert results == [n**2 for n in range(20)]
    assert still_pending == 1
    assert len(bench.result(large)) == 50_000_000
    assert bench.metrics.deaths == {}
    bench.stop().assert_books()


@rotated()
def test_worker_stopped_in_the_middle_of_a_report_is_killed_and_its_task_runs_again(
    make_bench, method, stuck_after, tmp_path
):
    stuck_after(0.6)
    bench = make_bench(method, redeliver_times=0).start()

    result = bench.run(
        FirstTime(str(tmp_path / "mark"), HalfReport(signal.SIGSTOP, 50_000_000), Square(5))
    )

    assert result == [25]
    assert bench.metrics.deaths == {"SIGKILL": 1}
    bench.stop().assert_books()


@quick("forkserver", "spawn", "fork")
def test_polite_signals_to_everyone_change_nothing(make_bench, method):
    bench = make_bench(method).start()
    pids = bench.pids
    everyone = [bench.server.pid, *pids] if method == "forkserver" else pids

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        for pid in everyone:
            os.kill(pid, signum)
    results = bench.run(*(Square(n) for n in range(50)))

    assert results == [n**2 for n in range(50)]
    assert bench.pids == pids
    assert bench.metrics.deaths == {}


@pytest.mark.full
def test_fork_server_survives_polite_signals(make_bench):
    bench = make_bench("forkserver").start()
    server = bench.server.pid
    os.kill(server, signal.SIGTERM)
    os.kill(server, signal.SIGINT)

    os.kill(bench.pids[0], signal.SIGKILL)  # its replacement proves that the server works
    bench.until(lambda: bench.metrics.started == 3, "a replacement has started")
    bench.until_manned()

    assert bench.server.pid == server


def test_fork_server_that_is_killed_is_replaced_with_all_handles(make_bench):
    bench = make_bench("forkserver", redeliver_times=0).start()
    server, pids = bench.server.pid, bench.pids
    ids = bench.submit(*[bench.say_and_wait()] * 4)
    bench.until_said("running", times=2)

    os.kill(server, signal.SIGKILL)
    bench.until(lambda: sum(bench.metrics.deaths.values()) == 2, "both lanes are lost")
    bench.gate.open_for(6)
    bench.until_settled().until_manned()

    assert all(bench.result(n) not in pids for n in ids)  # nothing was charged: all are done
    assert bench.server.pid != server
    assert bench.events.errors == []
    await_end(pids)
    bench.stop().assert_books()


@pytest.mark.full
def test_fork_server_that_dies_often_never_breaks_the_pool(make_bench):
    bench = make_bench("forkserver", intensity=1).start()

    for round_ in range(4):
        os.kill(bench.server.pid, signal.SIGKILL)
        bench.until(lambda n=round_: sum(bench.metrics.deaths.values()) == 2 * n + 2, "lost")
        bench.until_manned()

    assert bench.events.errors == []
    assert bench.run(Square(6)) == [36]


@pytest.mark.full
def test_fork_server_and_workers_killed_together_are_replaced(make_bench):
    bench = make_bench("forkserver").start()

    for pid in [bench.server.pid, *bench.pids]:
        os.kill(pid, signal.SIGKILL)
    bench.until(lambda: sum(bench.metrics.deaths.values()) == 2, "both lanes are lost")

    assert bench.until_manned().run(Square(7)) == [49]


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has a handle of a process")
def test_death_is_noticed_and_told_while_the_server_is_stopped(make_bench):
    bench = make_bench("forkserver", workers=2).start()
    server = bench.server
    os.kill(server.pid, signal.SIGSTOP)
    assert comes_true(lambda: is_stopped(server.pid))

    first, second, square = bench.submit(Segfaults(), ExitsWithCode(7), Square(5))
    bench.until_settled()

    assert (bench.result(square), bench.events.errors) == (25, [])
    assert {type(bench.error(task)) for task in (first, second)} == {WorkerDied}
    # Three runs of each, and what killed it is known: the dead tell it themselves.
    assert bench.metrics.deaths == {"SIGSEGV": 3, "exit_7": 3}
    assert bench.server.pid == server.pid  # whoever wants a worker of it lets it go on
    bench.stop().assert_books()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has a handle of a process")
def test_pool_ends_while_its_server_is_stopped(make_bench):
    bench = make_bench("forkserver", workers=2).start()
    os.kill(bench.server.pid, signal.SIGSTOP)

    bench.stop()

    assert bench.metrics.deaths == {}
