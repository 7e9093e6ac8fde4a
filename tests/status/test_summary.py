"""The table and the advice at a crawl's end."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.status import summary
from scrapy_mpworkers.wire.messages import TaskStatus


@pytest.mark.parametrize(
    ("busy", "service", "cpus", "said"),
    [
        (9.6, 0.01, 4, "more workers would help"),
        (9.6, 0.01, 2, "every CPU (2) has one"),
        (1.0, 0.01, 4, "fewer workers would do"),
        (6.0, 0.01, 4, "a good fit"),
        (6.0, 0.00001, 4, "inline (ITEM_PIPELINES) would be faster"),
    ],
)
def test_advice_is_drawn_from_the_figures(
    busy: float, service: float, cpus: int, said: str
) -> None:
    metrics = Metrics(workers=[WorkerTime(manned=10.0, busy=busy) for _ in range(2)])
    for _ in range(100):
        metrics.service.extend([service])
    metrics.hops[0].settled[TaskStatus.DONE] = 100

    assert said in summary.advice(metrics, 0.0, cpus)
    assert said in summary.table(metrics, 0.0, cpus)


def test_table_of_a_crawl_whose_items_killed_all_workers_says_so() -> None:
    metrics = Metrics(workers=[WorkerTime(manned=10.0)])
    metrics.hops[0].submitted = metrics.hops[0].settled[TaskStatus.DEAD_LETTERED] = 60
    metrics.deaths.update({"exit_3": 37, "SIGKILL": 1})

    table = summary.table(metrics, 0.0, 4)

    assert "no worker got an item done, 38 died (37 × exit_3, 1 × SIGKILL)" in table
    assert "no items came" not in table
    assert "no items came" in summary.table(Metrics(), 0.0, 4)
