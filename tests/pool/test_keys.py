"""Equal keys meet the same worker, in order, whatever happens to it."""

from __future__ import annotations

from itertools import pairwise

from scrapy_mpworkers.errors import WorkerDied

from .consumers import Behaviour
from .harness import rotated
from .saboteurs import KillsItself
from .work import FirstTime, InTurn, Pid, Square

KEYS = [f"site{n}" for n in range(20)]


@rotated()
def test_equal_keys_meet_the_same_worker(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True).start()

    ids = {key: bench.submit(Pid(), Pid(), Pid(), key=key) for key in KEYS}
    bench.until_settled()

    met = {key: {bench.result(task_id) for task_id in ids[key]} for key in KEYS}
    assert {len(workers) for workers in met.values()} == {1}
    assert set.union(*met.values()) == set(bench.pids)


@rotated()
def test_numbers_of_one_parity_are_shared_out_too(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True).start()

    ids = [bench.submit(Pid(), key=2 * n)[0] for n in range(40)]
    bench.until_settled()

    assert {bench.result(task_id) for task_id in ids} == set(bench.pids)


def said_of(bench, key):
    """What was said of a key, in order."""
    words = [line.split()[0].split("/") for line in bench.said]
    return [int(number) for of, number in words if of == key]


def is_in_order(numbers, count):
    """All came, and none overtook another, though some may have been done twice."""
    follows = all(later <= sooner + 1 for sooner, later in pairwise(numbers))
    return follows and set(numbers) == set(range(count)) and numbers[0] == 0


@rotated()
def test_later_tasks_of_a_key_wait_for_the_one_that_runs_again(make_bench, method, tmp_path):
    bench = make_bench(method, workers=2, keyed=True).start()
    dies = FirstTime(str(tmp_path / "died"), KillsItself(), bench.say("site0/3"))

    for number in range(8):
        for key in KEYS[:4]:
            work = dies if (key, number) == ("site0", 3) else bench.say(f"{key}/{number}")
            bench.submit(work, key=key)
    bench.until_settled()

    assert all(is_in_order(said_of(bench, key), 8) for key in KEYS[:4]), bench.said
    assert sum(bench.metrics.deaths.values()) == 1
    bench.stop().assert_books()


@rotated()
def test_a_poison_task_does_not_keep_its_key_from_going_on(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True, redeliver_times=1).start()

    before = bench.submit(Square(1), Square(2), key="a")
    (poisonous,) = bench.submit(KillsItself(), key="a")
    after = bench.submit(Square(3), Square(4), key="a")
    bench.until_settled()

    assert isinstance(bench.error(poisonous), WorkerDied)
    assert [bench.result(n) for n in (*before, *after)] == [1, 4, 9, 16]
    bench.stop().assert_books()


@rotated()
def test_order_of_a_key_outlives_the_recycling_of_its_worker(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True, max_items=10).start()

    for number in range(60):
        for key in KEYS[:2]:
            bench.submit(bench.say(f"{key}/{number}"), key=key)
    bench.until_settled()
    bench.until(lambda: len(bench.said) >= 120, "all have spoken")

    assert [said_of(bench, key) for key in KEYS[:2]] == [list(range(60))] * 2
    assert bench.metrics.recycled["items"] >= 1


@rotated()
def test_keys_stay_with_a_recycled_worker_until_its_replacement_serves_all_crawls(
    make_bench, method
):
    first = make_bench(method, workers=1, keyed=True, max_items=3).start()
    waits = {"behaviour": lambda bench: Behaviour(open=bench.say_and_wait("opening"))}
    second = make_bench(method, workers=1, keyed=True, max_items=3, beside=first, **waits).begin()
    second.until_said("opening")
    second.gate.open_for()
    second.until_settled(second.submit(Square(1), Square(2), Square(3), key="a"))
    second.until_said("opening", 2)  # the replacement opens the crawl last that worked last
    second.until(lambda: serving(first) == 2, "both workers have the first crawl's consumers")

    ids = first.submit(*(Pid() for _ in range(6)), key="a")
    first.until_settled(ids)

    assert {first.result(n) for n in ids} == {first.pids[0]}
    second.gate.open_for()
    for bench in (second, first):
        bench.stop().assert_books()


def serving(bench):
    """How many workers have the consumers of a bench's crawl."""
    return sum(bench.pool.crawl in handle.open_crawls for handle in bench.manager.handles)


@rotated()
def test_another_place_goes_on_while_one_has_lost_its_worker(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True).start()
    by_worker = {}
    for key in KEYS:
        (pid,) = bench.submit(Pid(), key=key)
        bench.until_settled([pid])
        by_worker.setdefault(bench.result(pid), key)
    one, other = by_worker.values()

    bench.submit(InTurn((bench.say_and_wait(), Square(2))), key=one)
    bench.until_said("running")
    ids = bench.submit(*(Square(n) for n in range(20)), key=other)

    bench.until_settled(ids)
    bench.gate.open_for()
    bench.until_settled()
