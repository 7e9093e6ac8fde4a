"""The trouble of one crawl in a shared pool is its own: the others lose no task, and none hangs."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import pytest

from scrapy_mpworkers.errors import PoolBroken, WorkerDied
from scrapy_mpworkers.pool import timeouts
from scrapy_mpworkers.pool.batching import Batched

from .consumers import Behaviour
from .harness import rotated
from .saboteurs import ExitsWithCode, KillsItself, NeverOpens, RaisesAtBoot
from .work import FirstTime, Pid, Square, TakeSeconds


@rotated()
def test_consumers_that_cannot_be_opened_are_no_business_of_the_other_crawls(make_bench, method):
    first = make_bench(method, intensity=1).start()
    pids = first.pids
    broken = make_bench(
        method,
        intensity=1,
        behaviour=lambda bench: Behaviour(open=RaisesAtBoot()),
        beside=first,
    ).begin()
    waiting = broken.submit(Square(1))

    broken.until_settled()

    assert len(broken.events.boot_failures) == 2
    assert isinstance(broken.error(waiting[0]), PoolBroken)
    assert len(broken.events.errors) == 1
    assert first.run(*(Square(n) for n in range(10))) == [n**2 for n in range(10)]
    broken.pool.kill()
    broken.stop().assert_books()
    assert first.pids == pids
    assert first.events.errors == []
    first.stop().assert_books()


@rotated()
def test_a_crawl_whose_opening_ends_workers_is_broken_and_the_others_go_on(make_bench, method):
    first = make_bench(method, intensity=3).start()
    ids = first.submit(*(TakeSeconds(0.005) for _ in range(50)))
    deadly = make_bench(
        method,
        intensity=3,
        behaviour=lambda bench: Behaviour(open=ExitsWithCode(5)),
        beside=first,
    ).begin()

    deadly.until(lambda: bool(deadly.events.errors), "it is broken")

    first.until_settled(ids)
    first.until_manned()
    assert first.run(Square(4)) == [16]
    assert first.events.errors == []
    deadly.stop()
    first.stop().assert_books()


@rotated(plain=False)
def test_a_crawl_whose_opening_hangs_is_broken_and_the_others_go_on(
    make_bench, method, monkeypatch
):
    first = make_bench(method).start()
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 3.0)
    hanging = make_bench(
        method, behaviour=lambda bench: Behaviour(open=NeverOpens()), beside=first
    ).begin()
    ids = first.submit(*(Square(n) for n in range(10)))

    hanging.until(lambda: bool(hanging.events.errors), "it is broken")

    first.until_settled(ids)
    assert first.events.errors == []
    assert sum(first.metrics.deaths.values()) == 1  # the other one was not tried
    hanging.stop()
    first.stop().assert_books()


@rotated()
def test_a_close_that_hangs_costs_its_worker_and_no_item_of_others(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(close=NeverOpens()), beside=first
    ).begin()
    second.run(Square(1))
    pids = first.pids

    second.stop(timeout=0.3)

    assert first.run(Square(5)) == [25]
    assert first.pids != pids
    first.stop().assert_books()


@rotated()
def test_kill_ends_only_workers_that_are_at_a_task_of_the_crawl(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(method, beside=first).join()
    (mine,) = first.submit(first.say_and_wait())
    (kept,) = first.until_said("running")
    second.submit(second.say_and_wait())
    (hanging,) = second.until_said("running")

    second.pool.kill()
    second.stop()
    first.until(lambda: bool(first.metrics.deaths), "one has been killed").until_manned()

    assert kept in first.pids
    assert hanging not in first.pids
    first.gate.open_for()
    first.until_settled()
    assert first.result(mine) == kept
    second.assert_books()
    first.stop().assert_books()


# What is left of a crawl that has gone


@rotated()
def test_a_close_that_hangs_is_ended_also_if_nobody_waits_for_it(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(close=NeverOpens()), beside=first
    ).join()

    second.pool.kill()  # as a crawl does whose start has failed
    second.stop(timeout=0.3)

    assert first.run(Square(5)) == [25]


@rotated()
def test_a_close_that_hangs_is_ended_also_if_the_worker_comes_to_it_late(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(close=NeverOpens()), beside=first
    ).join()
    (mine,) = first.submit(first.say_and_wait())
    first.until_said("running")

    second.stop(timeout=0.3)
    first.gate.open_for()

    first.until_settled([mine])
    assert first.run(Square(5)) == [25]


@rotated(plain=False)
def test_a_task_that_was_given_up_is_ended_also_if_the_worker_comes_to_it_late(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(method, workers=1, beside=first).join()
    (mine,) = first.submit(first.say_and_wait())
    first.until_said("running")
    second.submit(NeverOpens())
    second.wait_seconds(0.1)

    second.pool.kill()
    second.stop(timeout=0.3)
    first.gate.open_for()

    first.until_settled([mine])
    assert first.run(Square(5)) == [25]


@rotated()
def test_a_worker_that_opens_for_another_is_not_taken_for_stuck_in_the_close(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(method, workers=1, beside=first).join()
    third = make_bench(
        method,
        workers=1,
        behaviour=lambda bench: Behaviour(open=bench.say_and_wait("opening")),
        beside=first,
    ).begin()
    third.until_said("opening")

    second.stop(timeout=0.5)
    third.wait_seconds(0.6)
    third.gate.open_for()

    assert third.run(Square(3)) == [9]
    assert first.metrics.deaths == {}


@rotated()
def test_who_was_killed_and_then_left_alone_waits_for_no_close(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(close=NeverOpens()), beside=first
    ).join()

    second.pool.kill()
    first.stop()
    second.stop()

    assert not first.manager.handles


# Opening


@rotated()
def test_a_passing_trouble_with_opening_passes(make_bench, method, tmp_path):
    def fails_the_second_time(bench):
        again = FirstTime(str(tmp_path / "second"), RaisesAtBoot(), Square(1))
        return Behaviour(open=FirstTime(str(tmp_path / "first"), Square(1), again))

    first = make_bench(method, keyed=True).start()
    second = make_bench(method, keyed=True, behaviour=fails_the_second_time, beside=first).begin()

    ids = [second.submit(Pid(), key=n)[0] for n in range(20)]
    second.until_settled(ids)

    assert len({second.result(n) for n in ids}) == 2
    assert len(second.events.boot_failures) == 1


@rotated(plain=False)
def test_opening_that_ends_all_workers_but_one_breaks_no_idle_neighbour(
    make_bench, method, tmp_path
):
    def opens_once(bench):
        return Behaviour(open=FirstTime(str(tmp_path / "open"), Square(1), ExitsWithCode(5)))

    first = make_bench(method, intensity=2).start()
    second = make_bench(method, intensity=2, behaviour=opens_once, beside=first).begin()

    second.until(lambda: bool(second.events.errors), "it is broken")
    second.stop()

    assert first.events.errors == []
    assert first.run(Square(4)) == [16]


@rotated()
def test_definitions_that_end_workers_are_charged_to_their_task(make_bench, method):
    first = make_bench(method, intensity=3).start()
    second = make_bench(
        method, behaviour=lambda bench: Behaviour(define=ExitsWithCode(5)), beside=first
    ).join()
    second.blobs[7] = b"opaque"
    (poison,) = second.submit(Square(3), needs=(7,))

    second.until_settled()

    assert isinstance(second.error(poison), WorkerDied)
    assert first.events.errors == second.events.errors == []
    assert first.run(Square(4)) == [16]


@rotated()
def test_poison_of_one_breaks_no_idle_neighbour(make_bench, method):
    first = make_bench(method, intensity=3).start()
    second = make_bench(method, intensity=3, beside=first).join()
    second.submit(*(KillsItself() for _ in range(5)))

    second.until_settled()

    assert second.events.errors == first.events.errors == []
    assert first.run(Square(3)) == [9]


@rotated(plain=False)
def test_a_crawl_that_joins_does_not_shorten_the_items_of_others(make_bench, method, monkeypatch):
    first = make_bench(method).start()
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 0.4)
    first.submit(*(TakeSeconds(1.2) for _ in range(2)))
    first.wait_seconds(0.1)

    second = make_bench(method, beside=first).begin()
    first.until_settled()

    assert second.run(Square(3)) == [9]
    assert first.metrics.deaths == {}


@rotated(plain=False)
def test_each_crawl_has_all_the_time_for_opening(make_bench, method, monkeypatch):
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 1.5)

    def slow(bench):
        return Behaviour(open=TakeSeconds(0.7))

    first = make_bench(method, workers=1, behaviour=slow).start()
    others = [make_bench(method, workers=1, behaviour=slow, beside=first).join() for _ in range(2)]

    os.kill(first.pids[0], signal.SIGKILL)  # the next one has to open all three

    assert [bench.run(Square(4)) for bench in (first, *others)] == [[16]] * 3
    assert first.metrics.deaths == {"SIGKILL": 1}


@rotated()
def test_a_crawl_that_joins_a_pool_that_is_about_to_break_is_served(make_bench, method):
    hopeless = make_bench(
        method, behaviour=lambda bench: Behaviour(open=ExitsWithCode(5)), intensity=3
    ).begin()
    hopeless.wait_seconds(0.02)
    second = make_bench(method, beside=hopeless).begin()

    ids = second.submit(*(Square(n) for n in range(10)))
    second.until_settled(ids)

    assert second.events.errors == []
    assert [second.result(n) for n in ids] == [n**2 for n in range(10)]


@pytest.mark.full
@pytest.mark.parametrize("method", ["forkserver"])
def test_all_crawls_outlive_the_end_of_their_server(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(method, beside=first).join()
    for bench in (first, second):
        bench.submit(*(TakeSeconds(0.01) for _ in range(40)))

    first.server.kill()

    for bench in (first, second):
        bench.until_settled()
        assert bench.events.errors == []
    second.stop().assert_books()
    first.stop().assert_books()


# All at once

LIVES = {
    "works": Behaviour(),
    "cannot open": Behaviour(open=RaisesAtBoot()),
    "opens slowly": Behaviour(open=TakeSeconds(0.1)),
    "closes slowly": Behaviour(close=TakeSeconds(0.2)),
}
POOLS = {
    "plain": {"max_items": 25},
    "keyed": {"keyed": True, "max_items": 25},
    "batched": {"batched": Batched(5, 0.01)},
}


@pytest.mark.parametrize(
    ("method", "pool", "rounds"),
    [
        pytest.param("fork", "batched", 8),
        pytest.param("forkserver", "plain", 8, marks=pytest.mark.full),
        pytest.param("spawn", "keyed", 3, marks=pytest.mark.full),
        *(
            pytest.param(method, pool, 60, marks=pytest.mark.full)
            for method in ("forkserver", "fork")
            for pool in POOLS
        ),
    ],
)
def test_crawls_come_and_go_while_workers_are_killed(make_bench, method, pool, rounds):
    """The first stays; others join, work and leave, and each task of each has one outcome."""
    chance = random.Random(rounds)
    options = {"redeliver_times": 50, "intensity": 400, **POOLS[pool]}
    first = make_bench(method, **options).start()
    for _ in range(rounds):
        lives = [chance.choice([*LIVES, "works"]) for _ in range(chance.randint(1, 3))]
        guests = [
            make_bench(
                method, beside=first, behaviour=lambda bench, life=life: LIVES[life], **options
            ).begin()
            for life in lives
        ]
        for bench in (first, *guests):
            for n in range(chance.randint(0, 60)):
                bench.submit(Square(n), key=n % 5)
        for _ in range(chance.randint(0, 2)):
            if first.pids:
                with contextlib.suppress(ProcessLookupError):  # dead, but that is not known yet
                    os.kill(chance.choice(first.pids), signal.SIGKILL)
            first.wait_seconds(chance.random() * 0.05)
        for guest, life in zip(guests, lives, strict=True):
            way = chance.random()
            if way < 0.5 and life != "cannot open":
                guest.until_settled()
            elif way < 0.7:
                guest.pool.kill()
            guest.stop(timeout=chance.choice([0.05, 5.0])).assert_books()
    first.until_settled()
    assert first.events.errors == []
    first.stop().assert_books()
