"""The progress line, and the tables at a crawl's end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scrapy_mpworkers.pool.metrics import Metrics, TaskCounts, WorkerTime
from scrapy_mpworkers.status import summary
from scrapy_mpworkers.status.reporter import until_next_line
from scrapy_mpworkers.status.snapshot import (
    Counts,
    SlowTaskSnapshot,
    TaskSnapshot,
    WorkerSnapshot,
)

from .pictures import LEVEL


def level(name: str, hops: dict[int, list[int]]) -> Any:
    """A level, by the outcomes at its hops."""
    metrics = Metrics(workers=[WorkerTime(manned=10.0, busy=8.0)], started=1)
    for hop, settled in hops.items():
        metrics.hops[hop] = TaskCounts(sum(settled), settled)
    executor = SimpleNamespace(metrics=metrics, running=list)
    return SimpleNamespace(executor=executor, of_level=f" of the level {name}" if name else "")


def test_table_of_one_level_has_it_all() -> None:
    slowest = [SlowTaskSnapshot(n, "item", 0, f"http://{n}", 9.0 - n, "w", 0) for n in range(5)]

    [table] = summary.tables(
        [level("", {0: [4, 0, 1, 0]})], TaskCounts(5, [4, 0, 1, 0]), slowest, "a good fit."
    )

    assert table.splitlines() == [
        "Workers' summary:",
        "  items       5 submitted: 4 done, 1 failed",
        "  workers     1 started, 0 died",
        "  busy        80%",
        "  bytes       0 B out, 0 B back",
        "  slowest     9.0 s     http://0",
        "              8.0 s     http://1",
        "              7.0 s     http://2",
        "  advice      a good fit.",
    ]


def test_levels_have_a_table_each_and_one_for_all_with_each_item_once() -> None:
    levels = [level("one", {0: [5, 0, 0, 0], 2: [3, 0, 0, 0]}), level("two", {1: [4, 1, 0, 0]})]

    one, two, of_all = summary.tables(levels, TaskCounts(5, [4, 1, 0, 0]), [], "")

    assert one.startswith("Workers' summary of the level one:\n  hop 0 ")
    assert "hop 2       3 submitted: 3 done" in one
    assert "hop 1       5 submitted: 4 done, 1 dropped" in two
    assert of_all.splitlines() == [
        "Workers' summary of all levels:",
        "  items       5 submitted: 4 done, 1 dropped",
        "  advice      too short a crawl to judge.",
    ]


BUSY = LEVEL._replace(
    pending=53,
    per_second=10.0,
    per_minute=600.0,
    items=Counts(353, 290, 0, 7, 3, 0),
    utilisation=0.9,
    workers=(),
)


def test_progress_line_of_a_busy_level_does_not_read_like_a_stall() -> None:
    assert summary.progress(BUSY) == (
        "Workers: 90% busy, 290 items done, 7 failed, 3 given up (600 items/min), "
        "53 on their way (some 5 s of work)"
    )


def test_progress_line_names_the_item_that_takes_long() -> None:
    task = TaskSnapshot(7, "item", 0, "http://slow", 12.3)
    worker = WorkerSnapshot("w", 1, "busy", task, 0, 0.0, 0, None, None, None, None)
    stuck = BUSY._replace(name="one", per_minute=0.0, workers=(worker,), pending=0)

    assert summary.progress(stuck) == (
        "Workers of the level one: 90% busy, 290 items done, 7 failed, 3 given up (0 items/min); "
        "at http://slow for 12 s"
    )


def test_progress_lines_come_early_and_then_at_the_interval() -> None:
    def lines(interval: float, until: float) -> list[float]:
        moments = [0.0]
        while moments[-1] < until:
            moments.append(moments[-1] + until_next_line(moments[-1], interval))
        return moments[1:]

    assert lines(60.0, 150) == [5, 15, 30, 90, 150]
    assert lines(10.0, 50) == [5, 15, 25, 30, 40, 50]
    assert lines(2.0, 6) == [2, 4, 5, 7]
