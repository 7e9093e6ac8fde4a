"""Several crawls in one pool: each has its own books, and none pays for another."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrapy_mpworkers.errors import PoolClosed, WorkerDied
from scrapy_mpworkers.pool.interface import because_stopped
from scrapy_mpworkers.pool.worker_state import Phase

from .consumers import Behaviour
from .harness import rotated
from .work import Pid, Say, Square, TakeSeconds

if TYPE_CHECKING:
    from .harness import Bench


@dataclass(frozen=True)
class SayWhenCancelled:
    """Starts an asyncio task that waits for ever, and says when it is cancelled."""

    path: str

    def __call__(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(1000))
        task.add_done_callback(lambda task: Say(self.path, "cancelled")())


@dataclass(frozen=True)
class SayWhenFreed:
    """Says good-bye when nothing refers to it any more, wherever that is."""

    path: str

    def __call__(self) -> None: ...

    def __del__(self) -> None:
        Say(self.path, "freed")()


@rotated()
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
    assert [bench.metrics.items.submitted for bench in (first, second, third)] == [60, 20, 3]
    assert [bench.metrics.started for bench in (first, second, third)] == [2, 2, 2]
    assert [first.result(n) for n in numbers[0]] == [n**2 for n in range(30)]
    for bench in (second, first, third):
        assert [is_first for is_first in bench.events.firsts if is_first] == [True]
        bench.stop().assert_books()
    assert not first.manager.handles


@dataclass(frozen=True)
class SayWhy:
    """Says for which reason the consumers of a crawl close."""

    path: str

    def __call__(self, reason: str) -> None:
        Say(self.path, reason)()


@rotated()
def test_each_crawl_closes_for_a_reason_of_its_own(make_bench, method):
    def hears_why(bench: Bench) -> Behaviour:
        return Behaviour(hear=SayWhy(bench.voice.path))

    first = make_bench(method, behaviour=hears_why).start()
    second = make_bench(method, beside=first, behaviour=hears_why).begin()
    second.run(*(Pid() for _ in range(20)))

    first.stop(reason="had_enough")
    second.stop(reason="shutdown")

    assert len(first.until_said("had_enough", 2)) == 2
    assert len(second.until_said("shutdown", 2)) == 2


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
    assert first.metrics.deaths == second.metrics.deaths == {"SIGKILL": 1}
    assert first.metrics.redelivered == 0
    assert second.metrics.redelivered >= 1  # those that were at the worker already
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
    assert [is_first for *_, is_first in first.events.closed_by] == [True, False]
    assert set(second.run(*(Pid() for _ in range(10)))) <= set(pids)
    assert first.pids == pids
    assert second.said == []
    second.stop()
    assert sorted(second.until_said("closed", times=2)) == sorted(pids)
    assert first.metrics.deaths == second.metrics.deaths == {}


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
    assert [view.phase for view in first.pool.look()] == [Phase.IDLE]
    first.stop().assert_books()


@rotated()
def test_a_replacement_serves_every_crawl_that_is_there(make_bench, method):
    first = make_bench(method, workers=1).start()
    gone = make_bench(method, workers=1, beside=first).begin()
    second = make_bench(method, workers=1, beside=first).begin()
    gone.run(Square(1))
    second.run(Square(1))
    gone.stop()
    gone_opened = len(gone.events.firsts)

    os.kill(first.pids[0], signal.SIGKILL)

    assert second.run(Square(6)) == [36]
    assert first.run(Square(7)) == [49]
    assert len(gone.events.firsts) == gone_opened
    assert (first.metrics.started, second.metrics.started) == (2, 2)
    assert gone.metrics.started == 1


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


@rotated()
def test_a_crawl_that_joins_is_opened_in_one_worker_first(make_bench, method):
    first = make_bench(method).start()
    second = make_bench(
        method, behaviour=lambda bench: Behaviour(open=bench.say_and_wait("opening")), beside=first
    ).begin()
    second.until_said("opening")

    for n in range(10):
        assert first.run(Square(n)) == [n**2]

    assert second.said.count("opening") <= 1
    second.gate.open_for(2)
    second.until(lambda: len(second.events.firsts) == 2, "both have opened")


@rotated(plain=False)
def test_a_crawl_may_join_while_the_only_worker_is_being_replaced(make_bench, method):
    first = make_bench(method, workers=1).start()

    os.kill(first.pids[0], signal.SIGKILL)
    second = make_bench(method, workers=1, beside=first).begin()

    assert second.run(Square(3)) == [9]
    assert first.run(Square(4)) == [16]
    assert (first.metrics.started, second.metrics.started) == (2, 2)  # the dead one, too


@rotated()
def test_asyncio_tasks_of_a_crawl_end_with_it(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(method, workers=1, beside=first).join()
    second.run(SayWhenCancelled(second.voice.path))

    second.stop()

    second.until_said("cancelled")
    assert first.run(Square(3)) == [9]


@rotated()
def test_messages_of_tasks_that_were_given_up_leave_room(make_bench, method):
    first = make_bench(method, workers=1).start()
    second = make_bench(method, workers=1, beside=first).join()
    second.submit(second.say_and_wait())
    second.until_said("running")
    second.submit(Square(1), Square(1), Square(1))
    second.wait_seconds(0.05)

    second.pool.give_up(because_stopped)
    second.gate.open_for()

    assert first.run(Square(5)) == [25]
    first.until(lambda: not first.handles[0].open_messages, "no message is open")


@rotated()
def test_a_worker_that_is_on_its_way_out_is_not_counted_for_a_crawl_that_joins(make_bench, method):
    first = make_bench(
        method,
        workers=1,
        behaviour=lambda bench: Behaviour(close=bench.say_and_wait("closing")),
        max_items=3,
    ).start()
    first.run(*(Square(n) for n in range(4)))
    first.until_said("closing")
    second = make_bench(method, workers=1, beside=first, max_items=3).join()

    second.run(Square(1))

    assert second.metrics.started == 1
    first.gate.open_for(3)
