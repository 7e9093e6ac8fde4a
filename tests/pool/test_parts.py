"""A task that gives its results part by part, and goes on when it is told to."""

from __future__ import annotations

import os
import signal
from typing import Any

from scrapy_mpworkers.errors import PoolClosed, WorkerDied
from scrapy_mpworkers.pool.interface import DeadLettered, because_stopped
from scrapy_mpworkers.pool.stacks import StackRequests
from scrapy_mpworkers.wire.messages import TaskStatus

from .harness import Bench, Kept, rotated
from .saboteurs import KillsItself
from .work import FirstTime, Pid, Square


def parts(bench: Bench) -> list[Any]:
    return [part for _, part in bench.events.parts]


@rotated()
def test_parts_come_in_order_each_when_it_is_wanted(make_bench, method):
    bench = make_bench(method).start()
    ids = bench.submit(bench.in_parts(Square(1), Square(2), Square(3)))

    for number in (1, 2, 3):
        task = bench.until_part(number)
        bench.run(Square(9))  # time in which no other part comes
        assert len(parts(bench)) == number
        bench.pool.go_on(task)
    bench.until_settled(ids)

    assert parts(bench) == [1, 4, 9]
    bench.stop().assert_books()


@rotated()
def test_worker_of_a_task_that_waits_does_other_work(make_bench, method):
    bench = make_bench(method, workers=1).start()
    ids = bench.submit(*[bench.in_parts(Square(2), Square(3))] * 5)
    bench.until_part(5)

    assert bench.run(*(Square(n) for n in range(50))) == [n**2 for n in range(50)]

    for task, _ in list(bench.events.parts):
        bench.pool.go_on(task)
    for number in range(6, 11):
        bench.pool.go_on(bench.until_part(number))
    bench.until_settled(ids)
    assert sorted(parts(bench)) == [4] * 5 + [9] * 5
    bench.stop().assert_books()


@rotated()
def test_part_that_ends_while_its_worker_says_where_it_is_costs_not_the_next(
    make_bench, method, monkeypatch
):
    bench = make_bench(method, workers=1, item_timeout=1.0).start()
    asked = []
    monkeypatch.setattr(StackRequests, "last_words", lambda _, handle, told: asked.append(told))
    ids = bench.submit(bench.in_parts(bench.say_and_wait("first"), bench.say_and_wait("second")))
    bench.until_said("first")
    bench.until(lambda: bool(asked), "the time of the first part is up")

    bench.gate.open_for()
    bench.pool.go_on(bench.until_part(1))
    bench.until_said("second")
    asked[0]("it was in the first part")
    bench.gate.open_for()
    bench.pool.go_on(bench.until_part(2))
    bench.until_settled(ids)

    assert bench.metrics.tasks_settled == 1
    assert not bench.metrics.deaths
    bench.stop().assert_books()


@rotated()
def test_death_of_a_worker_at_which_a_task_waits(make_bench, method):
    bench = make_bench(method, workers=1).start()
    ids = bench.submit(bench.in_parts(Square(1), Pid(), Square(3)))
    bench.pool.go_on(bench.until_part(1))
    task = bench.until_part(2)
    (first,) = bench.pids

    os.kill(first, signal.SIGKILL)
    bench.until(lambda: bench.pids not in ([], [first]), "another worker is there")
    bench.pool.go_on(task)  # it begins again, behind what has been given
    bench.pool.go_on(bench.until_part(3))
    bench.until_settled(ids)

    assert parts(bench) == [1, first, 9]
    bench.stop().assert_books()


@rotated()
def test_death_in_the_middle_of_a_part(make_bench, method, tmp_path):
    bench = make_bench(method).start()
    once = FirstTime(str(tmp_path / "mark"), KillsItself(), otherwise=Square(2))
    ids = bench.submit(bench.in_parts(Square(1), once, Square(3)))

    for number in (1, 2, 3):
        bench.pool.go_on(bench.until_part(number))
    bench.until_settled(ids)

    assert parts(bench) == [1, 4, 9]
    assert bench.metrics.redelivered == 1
    bench.stop().assert_books()


@rotated()
def test_part_that_kills_every_worker(make_bench, method):
    bench = make_bench(method, redeliver_times=1).start()
    (poison,) = bench.submit(bench.in_parts(Square(1), KillsItself()))

    bench.pool.go_on(bench.until_part(1))
    bench.until_settled()

    assert isinstance(bench.error(poison), WorkerDied)
    assert parts(bench) == [1]
    assert bench.run(Square(5)) == [25]
    bench.stop().assert_books()


@rotated()
def test_task_that_nobody_wants_any_more_ends_where_it_is(make_bench, method):
    bench = make_bench(method).start()
    ids = bench.submit(bench.in_parts(Square(1), Square(2)))
    task = bench.until_part(1)

    bench.pool.go_on(task, is_over=True)
    bench.until_said("closed")
    bench.until_settled(ids)

    assert parts(bench) == [1]
    bench.stop().assert_books()


@rotated()
def test_task_that_nobody_wants_any_more_and_whose_worker_is_dead(make_bench, method):
    bench = make_bench(method, workers=1).start()
    ids = bench.submit(bench.in_parts(Square(1), Square(2)))
    task = bench.until_part(1)
    (first,) = bench.pids
    os.kill(first, signal.SIGKILL)
    bench.until(lambda: bench.pids not in ([], [first]), "another worker is there")

    bench.pool.go_on(task, is_over=True)
    bench.until_settled(ids)

    assert parts(bench) == [1]
    bench.stop().assert_books()


@rotated()
def test_task_whose_worker_dies_while_it_ends_it_does_not_begin_again(make_bench, method):
    bench = make_bench(method, workers=1).start()
    ids = bench.submit(bench.in_parts(Square(1), Square(2)))
    task = bench.until_part(1)

    (first,) = bench.pids
    os.kill(first, signal.SIGSTOP)
    bench.pool.go_on(task, is_over=True)
    os.kill(first, signal.SIGKILL)
    bench.until_settled(ids)

    assert parts(bench) == [1]
    assert bench.metrics.redelivered == 0
    bench.until_manned().stop().assert_books()


@rotated()
def test_part_comes_once_though_its_worker_dies_before_it_goes_on(make_bench, method):
    bench = make_bench(method, workers=1).start()
    ids = bench.submit(bench.in_parts(Square(1), Square(2)))
    task = bench.until_part(1)

    (first,) = bench.pids
    os.kill(first, signal.SIGSTOP)  # it does not read that it shall go on
    bench.pool.go_on(task)
    os.kill(first, signal.SIGKILL)
    bench.until_part(2)
    bench.pool.go_on(task)
    bench.until_settled(ids)

    assert parts(bench) == [1, 4]
    assert bench.metrics.redelivered == 1
    bench.stop().assert_books()


@rotated()
def test_task_that_waits_is_given_up_with_all_others(make_bench, method):
    bench = make_bench(method).start()
    (waits,) = bench.submit(bench.in_parts(Square(1), Square(2)))
    task = bench.until_part(1)

    bench.pool.give_up(because_stopped)
    bench.calls.create_future = Kept
    bench.pool.go_on(task)

    assert isinstance(bench.error(waits), PoolClosed)
    ((told,),) = [task.future.results]
    assert isinstance(told, DeadLettered)
    bench.stop().assert_books()


@rotated()
def test_task_that_waits_when_the_pool_stops_has_ended(make_bench, method):
    bench = make_bench(method).start()
    (waits,) = bench.submit(bench.in_parts(Square(1), Square(2)))
    bench.until_part(1)

    bench.stop().assert_books()

    (outcome,) = bench.settled[waits]
    assert outcome.status == TaskStatus.DONE


@rotated()
def test_task_that_nobody_wants_any_more_has_ended_if_the_pool_stops_first(make_bench, method):
    bench = make_bench(method).start()
    (number,) = bench.submit(bench.in_parts(Square(1), Square(2)))

    bench.pool.go_on(bench.until_part(1), is_over=True)
    bench.stop().assert_books()

    (outcome,) = bench.settled[number]
    assert outcome.status == TaskStatus.DONE


@rotated()
def test_worker_that_is_recycled_ends_when_no_task_waits_there(make_bench, method):
    bench = make_bench(method, workers=1, max_items=3).start()
    ids = bench.submit(bench.in_parts(Pid(), Pid()))
    task = bench.until_part(1)
    (first,) = bench.pids

    bench.run(*[Square(n) for n in range(5)])
    bench.until(lambda: len(bench.pids) == 2, "its replacement is there")
    assert first not in bench.run(*[Pid()] * 2)
    bench.pool.go_on(task)
    bench.pool.go_on(bench.until_part(2))
    bench.until_settled(ids)
    bench.until(lambda: first not in bench.pids, "the worker has ended")

    assert parts(bench) == [first, first]
    assert bench.metrics.deaths == {}
    bench.stop().assert_books()
