"""Kills at chosen moments."""

from __future__ import annotations

import os
import random
import signal

import pytest
from pool.harness import rotated
from pool.saboteurs import DiesAfterItsReport, KillsItself, KillsSiblings
from pool.vandals import Counted
from pool.work import Bytes, Carry, InTurn, Square, TakeSeconds

from scrapy_mpworkers.errors import WorkerDied


@rotated(plain=False)
def test_poison_among_500_costs_itself_after_exactly_its_redeliveries(make_bench, method):
    bench = make_bench(method, redeliver_times=2).start()

    good = bench.submit(*(Square(n) for n in range(250)))
    (poison,) = bench.submit(KillsItself())
    good += bench.submit(*(Square(n) for n in range(250)))
    bench.until_settled()

    error = bench.error(poison)
    assert isinstance(error, WorkerDied)
    assert error.deaths == 3
    assert bench.metrics.deaths == {"SIGKILL": 3}
    assert [bench.result(n) for n in good] == 2 * [n**2 for n in range(250)]
    (given_up,) = bench.settled[poison]
    assert (given_up.attempts, given_up.deaths) == (3, 3)
    bench.stop().assert_books()


@rotated()
def test_all_workers_killed_with_1000_items_waiting_lose_none(make_bench, method):
    bench = make_bench(method, workers=4).start()
    held = bench.submit(*[bench.say_and_wait()] * 4)
    bench.until_said("running", times=4)
    waiting = bench.submit(*(Square(n) for n in range(1_000)))

    for pid in bench.pids:
        os.kill(pid, signal.SIGKILL)
    bench.until_said("running", times=8)
    bench.gate.open_for(8)
    bench.until_settled()

    assert [bench.result(n) for n in waiting] == [n**2 for n in range(1_000)]
    assert all(isinstance(bench.result(n), int) for n in held)
    assert bench.metrics.deaths == {"SIGKILL": 4}
    bench.stop().assert_books()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="outcomes are kept on Linux only")
@pytest.mark.parametrize(
    ("tasks", "kills"), [(1000, 5), pytest.param(5000, 20, marks=pytest.mark.full)]
)
@rotated()
def test_a_death_runs_again_only_what_was_running(make_bench, method, tasks, kills, tmp_path):
    runs = tmp_path / "runs"
    bench = make_bench(method).start()
    bench.submit(*[Counted(str(runs), TakeSeconds(0.001))] * tasks)

    for number in range(kills):
        settled = (number + 1) * tasks // (kills + 2)
        bench.until(
            lambda least=settled: bench.metrics.tasks_settled >= least, f"{settled} settled"
        )
        bench.until_manned()
        os.kill(bench.pids[number % 2], signal.SIGKILL)
    bench.until_settled()

    assert runs.stat().st_size <= tasks + kills
    assert sum(bench.metrics.deaths.values()) == kills
    assert bench.metrics.items.settled == [tasks, 0, 0, 0]
    bench.stop().assert_books()


@pytest.mark.parametrize("seed", range(10))
@rotated(plain=False)
def test_kill_while_100_mb_cross_in_both_directions(make_bench, method, seed):
    chance = random.Random(seed)
    bench = make_bench(method, redeliver_times=20).start()
    size = 100 << 20

    for _ in range(2):
        down, up = bench.submit(InTurn((bench.say("down"), Carry(bytes(size)))), Bytes(size))
        victim = chance.choice(bench.pids)
        # Not at an event: anywhere between the first byte down and the last byte up.
        bench.calls.run()
        bench.wait_seconds(chance.uniform(0, 0.3))
        os.kill(victim, signal.SIGKILL)
        bench.until_settled().until_manned()
        assert (bench.result(down), len(bench.result(up))) == (size, size)

    assert bench.metrics.deaths == {"SIGKILL": 2}
    bench.stop().assert_books()


@rotated()
def test_kill_between_a_report_and_the_next_task_charges_nobody(make_bench, method):
    bench = make_bench(method, workers=1, redeliver_times=0).start()

    for deaths in range(1, 4):
        (sent,) = bench.submit(DiesAfterItsReport())
        behind = bench.submit(*(Square(n) for n in range(10)))
        bench.until_settled()
        bench.until(lambda n=deaths: bench.metrics.deaths["SIGKILL"] == n, "the death is known")
        bench.until_manned()
        assert bench.result(sent) == "sent"
        assert [bench.result(n) for n in behind] == [n**2 for n in range(10)]

    assert bench.metrics.redelivered <= 30  # those that waited in the lane
    bench.stop().assert_books()


@pytest.mark.parametrize("workers", [1, 2, 5, 13])
@rotated(plain=False)
def test_workers_that_kill_each_other_settle_every_item(make_bench, method, workers):
    bench = make_bench(method, workers=workers, redeliver_times=50, intensity=200).start()

    murders = bench.submit(*[InTurn((TakeSeconds(0.01), KillsSiblings(tuple(bench.pids))))] * 5)
    others = bench.submit(*(Square(n) for n in range(200)))
    bench.until_settled()

    assert all(isinstance(bench.result(n), int) for n in murders)
    assert [bench.result(n) for n in others] == [n**2 for n in range(200)]
    bench.until_manned().stop().assert_books()
