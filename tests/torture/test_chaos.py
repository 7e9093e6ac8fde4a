"""Random kills and stops of random workers: each item gets one outcome, and the pool goes on."""

from __future__ import annotations

import pytest
from pool.harness import METHODS
from pool.work import Square

from .chaos import Storm, weather

#: A worker under spawn takes a good part of a second to start.
EVERY = {"forkserver": 0.05, "spawn": 2.0, "fork": 0.05}
SHORT = [Storm(1_000, 0, seed) for seed in range(3)]
LONG = [Storm(10_000, 0, seed) for seed in range(20)]


def storms() -> list[object]:
    short = [
        pytest.param(method, storm, marks=pytest.mark.short, id=f"{method}-{storm.seed}-short")
        for method, storm in zip(METHODS, SHORT, strict=True)
    ]
    return short + [
        pytest.param(method, storm, marks=pytest.mark.full, id=f"{method}-{storm.seed}")
        for method in METHODS
        for storm in LONG
    ]


@pytest.mark.parametrize(("method", "storm"), storms())
def test_every_item_gets_one_outcome_whatever_hits_the_workers(make_bench, method, storm):
    bench = make_bench(method, workers=4, redeliver_times=20).start()

    blows = weather(bench, Storm(storm.items, EVERY[method], storm.seed))

    assert blows > 0
    assert bench.events.errors == []
    assert len(bench.settled) == storm.items
    bench.until_manned()
    assert bench.run(Square(3)) == [9]
    bench.stop().assert_books()
