"""Several crawls in one pool: each has its own books, and none pays for another."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scrapy_mpworkers.errors import PoolBroken, PoolClosed, WorkerDied
from scrapy_mpworkers.pool import supervisor

from .consumers import Behaviour
from .harness import every_method, rotated
from .saboteurs import ExitsWithCode, NeverOpens, RaisesAtBoot
from .work import Pid, Say, Square, TakeSeconds

if TYPE_CHECKING:
    from .harness import Bench


@dataclass(frozen=True)
class SayWhenFreed:
    """Says good-bye when nothing refers to it any more, wherever that is."""

    path: str

    def __call__(self) -> None: ...

    def __del__(self) -> None:
        Say(self.path, "freed")()


@every_method
def test_crawls_at_the_same_time_have_the_same_workers_and_books_of_their_own(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(method, beside=first).begin()
    third = make_bench(method, beside=first).begin()

    numbers = [first.submit(*(Square(n) for n in range(30))) for _ in range(2)]
    pids = second.run(*(Pid() for _ in range(20)))
    third.run(Square(5), Square(6), Square(7))
    first.until_settled()

    assert set(pids) <= set(first.pids)
    assert len(first.pids) == 2
    assert [bench.figures.items.submitted for bench in (first, second, third)] == [60, 20, 3]
    assert [bench.figures.started for bench in (first, second, third)] == [2, 2, 2]
    assert [first.result(n) for n in numbers[0]] == [n**2 for n in range(30)]
    for bench in (second, first, third):
        assert [speaks for speaks in bench.events.speakers if speaks] == [True]
        bench.stop().assert_books()
    assert not first.workforce.lanes


@rotated()
def test_a_crawl_that_joins_a_busy_pool_gets_its_turn(make_bench, method):
    busy = make_bench(method).start()
    flood = busy.submit(*(TakeSeconds(0.01) for _ in range(400)))
    late = make_bench(method, beside=busy).begin()

    late.run(*(Square(n) for n in range(8)))

    assert sum(not busy.settled[n] for n in flood) > 100
    busy.until_settled()


@rotated()
def test_items_of_one_crawl_do_not_wait_behind_a_long_one_of_another(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(method, beside=first).join()
    (long,) = first.submit(first.say_and_wait())
    first.until_said("running")

    for n in range(10):
        second.run(Square(n))

    assert not first.settled[long]
    first.gate.open_for()
    first.until_settled()


@rotated()
def test_a_death_is_charged_to_the_crawl_whose_task_ran(make_bench, method):
    first = make_bench(method, workers=1, redeliver_times=0).start()
    second = make_bench(method, workers=1, redeliver_times=0, beside=first).begin()
    second.run(Square(1))
    (poison,) = first.submit(first.say_and_wait())
    (pid,) = first.until_said("running")
    waiting = second.submit(Square(3), Square(4))
    second.wait_seconds(0.05)

    os.kill(pid, signal.SIGKILL)
    first.until_settled()
    second.until_settled(waiting)

    assert isinstance(first.error(poison), WorkerDied)
    assert [second.result(n) for n in waiting] == [9, 16]
    assert first.figures.deaths == second.figures.deaths == {"SIGKILL": 1}
    assert first.figures.redelivered == 0
    assert second.figures.redelivered >= 1  # those that were at the worker already
    for bench in (first, second):
        bench.stop().assert_books()


@rotated()
def test_the_last_crawl_to_leave_ends_the_workers(make_bench, method):
    def says_closed(bench: Bench) -> Behaviour:
        return Behaviour(close=bench.say("closed"))

    first = make_bench(method, behaviour=says_closed).start()
    second = make_bench(method, behaviour=says_closed, beside=first).begin()
    second.run(Square(1))
    pids = first.pids

    first.stop()

    assert sorted(first.until_said("closed", times=2)) == sorted(pids)
    assert [speaks for *_, speaks in first.events.closed_by] == [True, False]
    assert set(second.run(*(Pid() for _ in range(10)))) <= set(pids)
    assert first.pids == pids
    assert second.said == []
    second.stop()
    assert sorted(second.until_said("closed", times=2)) == sorted(pids)
    assert first.figures.deaths == second.figures.deaths == {}


@rotated()
def test_consumers_of_a_crawl_that_has_left_are_freed(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(
        method, behaviour=lambda bench: Behaviour(open=SayWhenFreed(bench.voice.path)), beside=first
    ).begin()
    second.run(Square(1))

    second.stop()

    second.until(
        lambda: {f"freed {pid}" for pid in first.pids} <= set(second.said), "both are freed"
    )
    assert first.run(Square(3)) == [9]


@rotated()
def test_pending_tasks_of_a_crawl_that_leaves_are_given_up_and_those_of_others_are_not(
    make_bench, method
):
    first = make_bench(method, workers=1).start()
    second = make_bench(method, workers=1, beside=first).begin()
    second.run(Square(1))
    (running,) = second.submit(second.say_and_wait())
    (pid,) = second.until_said("running")
    behind = first.submit(Square(2), Square(3))

    second.stop(after_request=second.gate.open_for)

    assert isinstance(second.error(running), PoolClosed)
    first.until_settled(behind)
    assert [first.result(n) for n in behind] == [4, 9]
    assert first.run(Pid()) == [pid]
    assert first.pool.workers() == (0, 1)
    first.stop().assert_books()


@rotated()
def test_consumers_that_cannot_be_opened_are_no_business_of_the_other_crawls(make_bench, method):
    first = make_bench(method).start()
    pids = first.pids
    broken = make_bench(
        method, behaviour=lambda bench: Behaviour(open=RaisesAtBoot()), beside=first
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
        method, behaviour=lambda bench: Behaviour(open=ExitsWithCode(5)), beside=first
    ).begin()

    deadly.until(lambda: bool(deadly.events.errors), "it is broken")

    first.until_settled(ids)
    first.until_manned()
    assert first.run(Square(4)) == [16]
    assert first.events.errors == []
    deadly.stop()
    first.stop().assert_books()


@rotated()
def test_a_crawl_whose_opening_hangs_is_broken_and_the_others_go_on(
    make_bench, method, monkeypatch
):
    first = make_bench(method).start()
    monkeypatch.setattr(supervisor, "BOOT_SECONDS", 1.0)
    hanging = make_bench(
        method, behaviour=lambda bench: Behaviour(open=NeverOpens()), beside=first
    ).begin()
    monkeypatch.setattr(supervisor, "BOOT_SECONDS", 20.0)
    ids = first.submit(*(Square(n) for n in range(10)))

    hanging.until(lambda: bool(hanging.events.errors), "it is broken")

    first.until_settled(ids)
    assert first.events.errors == []
    assert sum(first.figures.deaths.values()) == 2
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
    first.until(lambda: bool(first.figures.deaths), "one has been killed").until_manned()

    assert kept in first.pids
    assert hanging not in first.pids
    first.gate.open_for()
    first.until_settled()
    assert first.result(mine) == kept
    second.assert_books()
    first.stop().assert_books()


@rotated()
def test_a_replacement_serves_every_crawl_that_is_there(make_bench, method):
    first = make_bench(method, workers=1).start()
    gone = make_bench(method, workers=1, beside=first).begin()
    second = make_bench(method, workers=1, beside=first).begin()
    gone.run(Square(1))
    second.run(Square(1))
    gone.stop()
    gone_opened = len(gone.events.speakers)

    os.kill(first.pids[0], signal.SIGKILL)

    assert second.run(Square(6)) == [36]
    assert first.run(Square(7)) == [49]
    assert len(gone.events.speakers) == gone_opened
    assert (first.figures.started, second.figures.started) == (2, 2)
    assert gone.figures.started == 1


@rotated()
def test_keys_and_batches_are_each_crawls_own(make_bench, method):
    first = make_bench(method, keyed=True).start()
    second = make_bench(method, keyed=True, beside=first).begin()

    ids = {bench: [] for bench in (first, second)}
    for n in range(40):
        for bench in ids:
            ids[bench] += bench.submit(Pid(), key=n % 4)
    for bench, mine in ids.items():
        bench.until_settled()
        by_key = [{bench.result(n) for n in mine[key::4]} for key in range(4)]
        assert [len(pids) for pids in by_key] == [1, 1, 1, 1]
        bench.stop().assert_books()


@pytest.mark.parametrize(
    ("method", "rounds"),
    [
        pytest.param("forkserver", 12),
        pytest.param("spawn", 4),
        pytest.param("fork", 12),
        *(pytest.param(m, 100, marks=pytest.mark.full) for m in ("forkserver", "fork")),
    ],
)
def test_crawls_come_and_go_while_workers_are_killed(make_bench, method, rounds):
    """The first stays; others join, work and leave, and each gets one outcome for each task."""
    chance = random.Random(rounds)
    first = make_bench(method, workers=3, redeliver_times=50, intensity=40).start()
    for _ in range(rounds):
        guests = [
            make_bench(method, workers=3, redeliver_times=50, beside=first).begin()
            for _ in range(chance.randint(1, 3))
        ]
        for bench in (first, *guests):
            bench.submit(*(Square(n) for n in range(chance.randint(0, 60))))
        for _ in range(chance.randint(0, 2)):
            if first.pids:
                with contextlib.suppress(ProcessLookupError):  # dead, but that is not known yet
                    os.kill(chance.choice(first.pids), signal.SIGKILL)
            first.wait_seconds(chance.random() * 0.02)
        for guest in guests:
            if chance.random() < 0.8:
                guest.until_settled()
            guest.stop().assert_books()
            assert guest.events.errors == []
    first.until_settled()
    assert first.events.errors == []
    first.stop().assert_books()
