"""Tasks that run as one: how many, when, and who is to blame."""

from __future__ import annotations

from collections import Counter

from scrapy_mpworkers.errors import ItemTimeout, WorkerDied
from scrapy_mpworkers.pool.batching import Batched

from .harness import rotated
from .saboteurs import KillsItself, Sleeps
from .work import Company, Square

NEVER = 1000.0  # seconds


@rotated()
def test_a_full_message_goes_at_once_and_the_rest_in_time(make_bench, method):
    bench = make_bench(method, workers=1, batched=Batched(10, 0.05)).start()

    sizes = bench.run(*(Company() for _ in range(25)))

    assert Counter(sizes) == {10: 20, 5: 5}


@rotated()
def test_the_rest_waits_for_company(make_bench, method):
    bench = make_bench(method, workers=1, batched=Batched(10, NEVER)).start()

    first = bench.submit(*(Company() for _ in range(9)))
    bench.wait_seconds(0.05)
    assert not any(bench.settled[n] for n in first)
    last = bench.submit(Company())
    bench.until_settled()

    assert [bench.result(n) for n in (*first, *last)] == [10] * 10


@rotated()
def test_flush_and_stop_batching_send_what_waits(make_bench, method):
    bench = make_bench(method, workers=1, batched=Batched(10, NEVER)).start()

    flushed = bench.submit(Company(), Company())
    bench.pool.flush()
    bench.until_settled(flushed)
    bench.pool.stop_batching()
    unbatched = bench.submit(Company(), Company(), Company())
    bench.until_settled(unbatched)

    assert [bench.result(n) for n in (*flushed, *unbatched)] == [2, 2, 3, 3, 3]


@rotated()
def test_a_poison_task_costs_none_of_those_that_ran_with_it(make_bench, method):
    bench = make_bench(method, workers=2, batched=Batched(20, 0.05), redeliver_times=1).start()

    works = [KillsItself() if n == 7 else Square(n) for n in range(40)]
    ids = bench.submit(*works)
    bench.until_settled()

    error = bench.error(ids[7])
    assert isinstance(error, WorkerDied)
    assert error.deaths == 2
    assert [bench.result(n) for n in ids if n != ids[7]] == [n * n for n in range(40) if n != 7]
    assert sum(bench.metrics.deaths.values()) == 3  # as one, alone, and alone again
    bench.stop().assert_books()


@rotated()
def test_a_task_over_its_time_costs_none_of_those_that_ran_with_it(make_bench, method):
    batched = Batched(5, 0.05)
    bench = make_bench(method, workers=1, batched=batched, item_timeout=0.5).start()

    late = Sleeps(bench.voice.path)
    ids = bench.submit(Square(1), Square(2), late, Square(3), Square(4))
    bench.until_settled()

    assert isinstance(bench.error(ids[2]), ItemTimeout)
    assert [bench.result(ids[n]) for n in (0, 1, 3, 4)] == [1, 4, 9, 16]
    bench.stop().assert_books()


@rotated()
def test_keys_and_messages_that_run_as_one_go_together(make_bench, method):
    bench = make_bench(method, workers=2, keyed=True, batched=Batched(5, 0.05)).start()

    ids = [n for key in "abcdefgh" for n in bench.submit(*(Company() for _ in range(3)), key=key)]
    bench.until_settled()

    assert max(bench.result(n) for n in ids) == 5
    bench.stop().assert_books()
