"""Random kills and stops of random workers: each item gets one outcome, and the pool goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pool.work import Square

from .chaos import Storm, weather, weather_in_parts

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

WORKERS = 8
#: Seconds between two blows. A worker under spawn takes a good part of a second to start.
SHORT = {"forkserver": 0.05, "spawn": 0.25, "fork": 0.05}
LONG = {"forkserver": 0.05, "spawn": 2.0, "fork": 0.05}


def storms() -> Iterator[ParameterSet]:
    for seed, (method, every) in enumerate(SHORT.items()):
        storm = Storm(1_000, every, seed)
        marks = [] if method == "fork" else [pytest.mark.full]
        yield pytest.param(method, storm, marks=marks, id=f"{method}-short")
    for method, every in LONG.items():
        for seed in range(20):
            storm = Storm(10_000, every, seed)
            yield pytest.param(method, storm, marks=pytest.mark.full, id=f"{method}-{seed}")


@pytest.mark.parametrize(("method", "storm"), list(storms()))
def test_every_item_gets_one_outcome_whatever_hits_the_workers(make_bench, method, storm):
    # The intensity is the automatic one for so many workers.
    bench = make_bench(method, workers=WORKERS, redeliver_times=20, intensity=4 * WORKERS).start()

    blows = weather(bench, storm)

    assert blows > 0
    assert bench.events.errors == []
    assert len(bench.settled) == storm.items
    bench.until_manned()
    assert bench.run(Square(3)) == [9]
    bench.stop().assert_books()


@pytest.mark.parametrize(("method", "storm"), list(storms()))
def test_every_part_comes_once_and_in_order_whatever_hits_the_workers(make_bench, method, storm):
    bench = make_bench(method, workers=4, redeliver_times=50, intensity=10_000).start()

    blows = weather_in_parts(bench, replace(storm, items=storm.items // 5), parts=5)

    assert blows > 0
    came = defaultdict(list)
    for task, number in bench.events.parts:
        came[task.id].append(number)
    assert len(came) == storm.items // 5
    assert [numbers for numbers in came.values() if numbers != [0, 1, 2, 3, 4]] == []
    bench.until_manned().stop().assert_books()
