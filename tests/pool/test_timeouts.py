"""Limits from outside: of an item's time, of a worker's items and memory, of its boot."""

from __future__ import annotations

import os
import signal
import time
from ctypes import PyDLL
from time import monotonic

import pytest
from plain import plain_first

from scrapy_mpworkers.errors import ItemTimeout, PoolBroken
from scrapy_mpworkers.pool import recycling, timeouts
from scrapy_mpworkers.pool.recycling import resident_bytes

from .consumers import Behaviour
from .harness import await_end, rotated
from .saboteurs import (
    Grows,
    HangsIfThere,
    HangsTheFirstTime,
    LoopsInC,
    LoopsInPython,
    NeverOpens,
    Sleeps,
)
from .work import InTurn, Pid, Square, StartSleep, TakeSeconds

HANGS = {"Python loop": LoopsInPython, "regular expression": LoopsInC, "sleep": Sleeps}


@pytest.mark.parametrize("hang", HANGS)
@rotated()
def test_item_over_its_time_is_given_up_and_no_other(make_bench, method, hang):
    bench = make_bench(method, item_timeout=0.5).start()

    (late,) = bench.submit(HANGS[hang](bench.voice.path))
    (worker,) = bench.until_said("running")
    begun = monotonic()
    others = bench.submit(*(Square(n) for n in range(50)))
    bench.until_settled([late])
    took = monotonic() - begun
    bench.until_settled()

    error = bench.error(late)
    assert isinstance(error, ItemTimeout)
    assert f"pid {worker}" in error.worker
    assert took < 1.2  # the limit, its last words, and half a second
    assert [bench.result(n) for n in others] == [n**2 for n in range(50)]
    bench.stop().assert_books()


BLOCKS = {"sleeps": time.sleep, "keeps the interpreter": lambda s: PyDLL(None).usleep(int(s * 1e6))}


@pytest.mark.parametrize("block", plain_first(BLOCKS))
@rotated()
def test_callback_that_blocks_the_loop_moves_no_limit(make_bench, method, block):
    bench = make_bench(method, item_timeout=1.5).start()

    late = bench.submit(Sleeps(bench.voice.path))
    bench.until_said("running")
    begun = monotonic()
    BLOCKS[block](1.2)
    bench.until_settled(late)

    assert isinstance(bench.error(*late), ItemTimeout)
    assert monotonic() - begun < 2.2


@rotated(plain=False)
def test_processes_of_an_item_over_its_time_die_with_it(make_bench, method):
    bench = make_bench(method, item_timeout=0.5).start()

    bench.submit(InTurn((StartSleep(bench.voice.path), Sleeps(bench.voice.path))))
    (child,) = bench.until_said("child")
    bench.until_settled()

    await_end([child])


@rotated()
def test_neighbours_in_the_batch_of_an_item_over_its_time_are_done(make_bench, method):
    bench = make_bench(method, workers=1, item_timeout=0.5).start()
    bench.run(*(Square(n) for n in range(50)))  # quick ones, so that messages carry many

    before = bench.submit(*(Square(n) for n in range(10)))
    (late,) = bench.submit(Sleeps(bench.voice.path))
    after = bench.submit(*(Square(n) for n in range(10)))
    bench.until_settled()

    assert isinstance(bench.error(late), ItemTimeout)
    assert [bench.result(n) for n in before + after] == 2 * [n**2 for n in range(10)]


@rotated()
def test_outcomes_do_not_wait_for_a_slow_item_behind_them(make_bench, method):
    bench = make_bench(method, workers=1).start()
    bench.run(*(Square(n) for n in range(50)))

    before = bench.submit(*(Square(n) for n in range(5)))
    held = bench.submit(bench.say_and_wait())
    bench.until_settled(before)

    assert bench.pool.pending == 1
    bench.gate.open_for(1)
    bench.until_settled(held)


@rotated()
def test_limit_that_races_with_completion_gives_each_item_one_outcome(make_bench, method):
    # Items that take about as long as they may: some make it, some do not, and a kill that comes
    # too late must not hit the next one. The limit is such that a quick item meets it not even
    # where a new worker and its machine are slow (50 ms were too little, once).
    bench = make_bench(method, workers=2, item_timeout=0.25).start()

    racing = bench.submit(*[TakeSeconds(0.25 + 0.001 * (n % 9 - 4)) for n in range(18)])
    quick = bench.submit(*(Square(n) for n in range(30)))
    bench.until_settled()

    assert [bench.result(n) for n in quick] == [n**2 for n in range(30)]
    assert all(bench.result(n) is None or isinstance(bench.error(n), ItemTimeout) for n in racing)
    bench.stop().assert_books()


@rotated()
def test_worker_is_recycled_after_its_items_without_a_loss(make_bench, method):
    bench = make_bench(method, workers=2, max_items=10).start()
    first = set(bench.pids)

    for _ in range(10):
        results = bench.run(*(Square(n) for n in range(20)))
        assert results == [n**2 for n in range(20)]
    bench.until(lambda: not first & set(bench.pids), "the first workers are gone")

    assert bench.metrics.recycled["items"] >= 2
    assert bench.metrics.deaths == {}
    assert bench.metrics.redelivered == 0
    bench.stop().assert_books()


def count_open(bench):
    return sum(not handle.is_closing for handle in bench.handles)


@rotated()
def test_relief_is_ready_before_a_worker_retires(make_bench, method):
    bench = make_bench(method, workers=1, max_items=1).start()
    fewest = []

    for _ in range(5):
        bench.run(Pid())
        bench.until(
            lambda: fewest.append(sum(not one.is_closing for one in bench.handles)) or True,
            "a look",
        )

    assert min(fewest) >= 1


@rotated()
def test_recycled_worker_closes_its_consumers_and_is_silent(make_bench, method):
    bench = make_bench(
        method, workers=1, max_items=3, behaviour=lambda bench: Behaviour(close=bench.say("closed"))
    ).start()
    (first,) = bench.pids

    bench.run(*[Square(1)] * 3)

    assert bench.until_said("closed") == [first]
    bench.until(lambda: len(bench.events.closed_by) == 1, "the report of the closing")
    assert [is_first for *_, is_first in bench.events.closed_by] == [False]
    bench.stop()
    assert [is_first for *_, is_first in bench.events.closed_by] == [False, True]


@rotated()
def test_worker_that_dies_while_its_relief_boots_is_replaced_once(make_bench, method):
    bench = make_bench(method, workers=1, max_items=1).start()
    (first,) = bench.pids
    bench.run(Square(1))

    os.kill(first, signal.SIGKILL)
    bench.until(lambda: first not in [handle.pid for handle in bench.manager.handles], "gone")
    bench.until_manned()

    assert bench.run(Square(3)) == [9]
    bench.stop().assert_books()


@rotated()
def test_worker_above_its_memory_is_recycled(make_bench, method, monkeypatch):
    monkeypatch.setattr(recycling, "_WEIGH_EVERY", 0.0)
    # A forked worker begins with the memory of this process, which grows from test to test.
    limit = resident_bytes(os.getpid()) + (100 << 20)
    bench = make_bench(method, workers=1, memory_limit=limit).start()
    (first,) = bench.pids

    (heavy,) = bench.run(Grows(limit))
    bench.until(lambda: bench.pids != [] and first not in bench.pids, "it is replaced")

    assert heavy == first
    assert bench.metrics.recycled == {"memory": 1}
    assert bench.run(Square(3)) == [9]
    assert bench.metrics.deaths == {}
    bench.stop().assert_books()


@rotated()
def test_baseline_above_the_memory_limit_is_warned_of_once_and_recycles_nobody(
    make_bench, method, monkeypatch, caplog
):
    monkeypatch.setattr(recycling, "_WEIGH_EVERY", 0.0)
    bench = make_bench(method, workers=2, memory_limit=1 << 20).start()

    bench.run(*(Square(n) for n in range(50)))

    warnings = [r.getMessage() for r in caplog.records if "MEMORY_LIMIT" in r.getMessage()]
    assert len(warnings) == 1
    assert "before its first item" in warnings[0]
    assert bench.metrics.recycled == {}
    assert bench.metrics.started == 2


@rotated()
def test_workers_that_hang_while_booting_break_the_pool(make_bench, method, monkeypatch):
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 1.0)
    bench = make_bench(method, intensity=3, behaviour=lambda bench: Behaviour(open=NeverOpens()))
    bench.begin()
    waiting = bench.submit(Square(1), Square(2))

    bench.until(lambda: bool(bench.events.errors), "the pool is broken")
    bench.until_settled()

    assert "not ready in time" in str(bench.events.errors[0])
    assert all(isinstance(bench.error(n), PoolBroken) for n in waiting)
    bench.stop().assert_books()


def test_server_that_hangs_while_importing_breaks_the_pool(make_bench, monkeypatch, tmp_path):
    (tmp_path / "never_imported.py").write_text("import signal\nwhile True: signal.pause()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 1.0)
    bench = make_bench("forkserver", preload=["never_imported"])
    bench.begin()
    waiting = bench.submit(Square(1))

    bench.until(lambda: bool(bench.events.errors), "the pool is broken")
    bench.until_settled()

    assert "could not be started in time" in str(bench.events.errors[0])
    assert isinstance(bench.error(waiting[0]), PoolBroken)
    bench.stop().assert_books()


@rotated(plain=False)
def test_replacement_that_hangs_while_booting_does_not_stop_the_others(
    make_bench, method, monkeypatch, tmp_path
):
    gate = tmp_path / "hang"
    bench = make_bench(
        method, workers=2, behaviour=lambda bench: Behaviour(open=HangsIfThere(str(gate)))
    ).start()
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 0.5)
    gate.touch()

    os.kill(bench.pids[0], signal.SIGKILL)
    bench.until(lambda: sum(bench.metrics.deaths.values()) >= 2, "a replacement was killed")
    gate.unlink()
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 20.0)

    assert bench.run(*(Square(n) for n in range(20))) == [n**2 for n in range(20)]
    assert bench.events.errors == []


@rotated(plain=False)
def test_first_worker_that_hangs_while_opening_hands_its_turn_on(
    make_bench, method, monkeypatch, tmp_path
):
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 1.0)
    opens = HangsTheFirstTime(str(tmp_path / "hung"))
    bench = make_bench(method, workers=2, behaviour=lambda bench: Behaviour(open=opens)).start()

    assert bench.run(*(Square(n) for n in range(20))) == [n**2 for n in range(20)]
    assert bench.metrics.deaths == {"SIGKILL": 1}
    assert bench.events.errors == []
