"""Nothing can be opened or forked for seconds, and somebody else collects the workers."""

from __future__ import annotations

import os
import random
import signal
from time import monotonic

import pytest
from pool import refusing
from pool.harness import PRELOAD, rotated
from pool.shortage import Forks, no_descriptors
from pool.work import Square, TakeSeconds

WORKERS = 4


@pytest.fixture
def forks(monkeypatch, tmp_path):
    return Forks(monkeypatch, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("what", ["no descriptors", "no forks"])
@rotated()
def test_workers_come_back_after_seconds_of_shortage(make_bench, method, what, forks):
    preload = [*PRELOAD, refusing.__name__]
    bench = make_bench(method, workers=WORKERS, preload=preload, redeliver_times=9).start()
    chance = random.Random(5)

    for number_of_dead in (1, 3, 2):
        deaths = sum(bench.metrics.deaths.values())
        with no_descriptors() if what == "no descriptors" else forks.failing():
            for pid in chance.sample(bench.pids, number_of_dead):
                os.kill(pid, signal.SIGKILL)
            bench.until(
                lambda n=deaths + number_of_dead: sum(bench.metrics.deaths.values()) == n, "known"
            )
            begun = monotonic()
            while monotonic() - begun < 2.0:
                assert bench.run(*(Square(n) for n in range(50))) == [n**2 for n in range(50)]
            assert len(bench.pids) == WORKERS - number_of_dead
        begun = monotonic()
        bench.until_manned()
        assert monotonic() - begun < 8.0

    assert bench.events.errors == []
    bench.stop().assert_books()


@pytest.mark.full
@pytest.mark.parametrize("way", ["ignored", "reaper"])
@rotated()
def test_every_death_is_noticed_while_somebody_else_collects(request, make_bench, method, way):
    request.getfixturevalue(way)
    bench = make_bench(method, workers=WORKERS, redeliver_times=50, intensity=99).start()
    ids = bench.submit(*(TakeSeconds(0.01) for _ in range(300)))

    for deaths in range(1, 31):
        os.kill(bench.pids[deaths % len(bench.pids)], signal.SIGKILL)
        bench.until(lambda n=deaths: sum(bench.metrics.deaths.values()) >= n, "it is noticed")
        bench.until_manned()
    bench.until_settled()

    assert [bench.result(n) for n in ids] == [None] * 300
    assert sum(bench.metrics.deaths.values()) == 30
    bench.stop().assert_books()
