"""The plain way: tasks go down, outcomes come back, pills end it."""

from __future__ import annotations

import gc

import pytest

from scrapy_mpworkers.errors import PoolClosed

from .consumers import Behaviour
from .harness import quick, rotated
from .saboteurs import RaisesAtBoot, ReturnsUnpicklable
from .work import Bytes, Carry, CountCollectable, Fail, InTurn, Pid, Square, TurnsOfMyTask


@rotated()
def test_every_task_is_settled_once_with_its_own_result(make_bench, method):
    bench = make_bench(method).start()

    results = bench.run(*(Square(n) for n in range(500)))

    assert results == [n**2 for n in range(500)]
    bench.stop().assert_books()
    assert bench.metrics.deaths == {}
    assert bench.metrics.redelivered == 0


@rotated()
def test_all_workers_get_work(make_bench, method):
    bench = make_bench(method).start()

    both = bench.submit(bench.say_and_wait(), bench.say_and_wait())
    bench.until_said("running", times=2)
    bench.gate.open_for(2)
    bench.until_settled(both)

    assert {bench.result(task_id) for task_id in both} == set(bench.pids)


@rotated()
def test_tasks_of_asyncio_get_a_turn_between_messages_that_are_there(make_bench, method):
    bench = make_bench(method, workers=1).start()
    bench.run(TurnsOfMyTask())

    (held,) = bench.submit(InTurn((bench.say_and_wait(), TurnsOfMyTask())))
    bench.until_said("running")
    behind = bench.submit(*[TurnsOfMyTask()] * 3)
    bench.until(lambda: len(bench.pool.overdue()) > 1, "the next message is in its lane")
    bench.gate.open_for(1)
    bench.until_settled()

    assert 0 < bench.result(held) < bench.result(behind[0])


@rotated()
def test_task_takes_no_turn_of_the_loop_while_all_workers_have_enough(make_bench, method):
    bench = make_bench(method, workers=1).start()
    bench.submit(bench.say_and_wait(), *[Square(2)] * 3)
    bench.until_said("running")
    bench.until(lambda: len(bench.pool.overdue()) == 2, "the worker has one message ahead")

    (late,) = bench.submit(Square(3))

    assert not bench.calls.has_function
    bench.gate.open_for(1)
    bench.until_settled()
    assert bench.result(late) == 9

    (first, *_) = bench.submit(Square(4), Square(5))
    assert bench.calls.has_function
    bench.until_settled()
    assert bench.result(first) == 16


@rotated()
def test_exceptions_of_consumers_are_outcomes(make_bench, method):
    bench = make_bench(method).start()

    failed, fine = bench.run(Fail(), Square(3))

    assert failed == "ValueError: as ordered"
    assert fine == 9
    bench.stop().assert_books()


@rotated()
def test_unpicklable_result_costs_only_its_task(make_bench, method):
    bench = make_bench(method).start()

    unpicklable, fine = bench.run(ReturnsUnpicklable(), Square(3))

    assert "local object" in unpicklable  # "Can't pickle ..." up to 3.12, "Can't get ..." in 3.13
    assert fine == 9
    assert bench.metrics.deaths == {}


@rotated()
def test_frames_and_results_larger_than_any_buffer_cross(make_bench, method):
    bench = make_bench(method).start()

    shipped, returned = bench.run(Carry(bytes(30_000_000)), Bytes(30_000_000))

    assert shipped == 30_000_000
    assert len(returned) == 30_000_000


@rotated()
def test_first_worker_to_open_and_to_close_speaks_for_all(make_bench, method):
    bench = make_bench(method, workers=3).start()

    bench.stop()

    assert bench.events.firsts == [True, False, False]
    assert [is_first for *_, is_first in bench.events.closed_by] == [True, False, False]
    assert {worker for worker, *_ in bench.events.closed_by} == {
        "worker-1",
        "worker-2",
        "worker-3",
    }


@rotated()
def test_every_worker_closes_its_consumers_before_the_pool_has_stopped(make_bench, method):
    bench = make_bench(method, behaviour=lambda bench: Behaviour(close=bench.say("closed")))
    pids = bench.start().pids

    bench.stop()

    assert sorted(bench.until_said("closed", times=2)) == sorted(pids)


@rotated()
def test_consumers_that_fail_to_close_are_reported(make_bench, method):
    bench = make_bench(method, behaviour=lambda bench: Behaviour(close=RaisesAtBoot())).start()

    bench.stop()

    assert len(bench.events.closed_by) == 2
    assert all(failure for _, failure, _ in bench.events.closed_by)


@rotated()
def test_a_definition_travels_to_each_handle_once(make_bench, method):
    bench = make_bench(
        method, workers=1, behaviour=lambda bench: Behaviour(define=bench.say("defined"))
    ).start()
    bench.blobs[0] = b"a definition"

    for _ in range(3):
        bench.until_settled(bench.submit(Square(1), needs=(0,)))

    assert len(bench.until_said("defined")) == 1


@rotated()
def test_tasks_after_the_stop_are_given_up(make_bench, method):
    bench = make_bench(method).start().stop()

    late = bench.submit(Square(1))
    bench.until_settled(late)

    assert isinstance(bench.error(late[0]), PoolClosed)
    bench.assert_books()


@rotated()
def test_tasks_that_the_stop_overtakes_are_given_up(make_bench, method):
    bench = make_bench(method, workers=1).start()
    running = bench.submit(bench.say_and_wait())
    bench.until_said("running")
    waiting = bench.submit(*(Square(n) for n in range(10)))
    bench.gate.open_for(1)

    bench.stop()

    assert all(isinstance(bench.error(n), PoolClosed) for n in running + waiting)
    bench.assert_books()


@rotated()
def test_settle_is_never_called_within_submit(make_bench, method):
    bench = make_bench(method).start().stop()

    (late,) = bench.submit(Square(1))

    assert bench.settled[late] == []
    bench.until_settled([late])


@rotated()
def test_a_pool_stopped_while_it_starts_leaves_nothing(make_bench, method):
    bench = make_bench(method)
    bench.begin()

    bench.stop()

    assert bench.events.errors == []


@pytest.mark.parametrize("workers", [1, 5])
def test_pool_has_as_many_workers_as_asked_for(make_bench, workers):
    bench = make_bench("fork", workers=workers).start()

    pids = set(bench.run(*[Pid()] * 20))

    assert len(bench.pids) == workers
    assert pids <= set(bench.pids)
    assert bench.metrics.started == workers


@quick("fork")
def test_what_a_worker_was_forked_with_is_not_collected_in_it(make_bench, method):
    bench = make_bench(method, workers=1).start()

    [collectable] = bench.run(CountCollectable())

    # Else every collection walks, and so copies, all that the crawl's process had.
    assert collectable < (len(gc.get_objects()) + gc.get_freeze_count()) / 10
