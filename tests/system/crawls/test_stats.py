"""The stats that a pipeline reads in a worker are the crawl's where that can be, or it is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .harness import World, worlds

if TYPE_CHECKING:
    from .harness import Launcher

HERE = World("asyncio", "forkserver")


@worlds()
def test_pipeline_that_sums_up_as_it_closes_has_the_numbers_of_the_crawl(
    launch: Launcher, world: World
) -> None:
    settings = {
        "ITEM_PIPELINES": {"crawled.summing.Counts": 100},
        "MPWORKERS_PIPELINES": {"crawled.summing.SumsUp": 300},
        "MPWORKERS_WORKERS": 2,
        "STATS_DUMP": False,
    }

    ended = launch.crawl("pages", world, **settings).finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    sums = ended.told("sum")
    closed = sums.count(6)  # those that have opened by then: six items do not wait for the second
    assert closed in (1, 2)
    assert sums.count([6, 6, 1]) == closed
    assert ended.told("large") == [8_000_000] * closed
    assert "read in a worker" not in ended.log


@pytest.mark.parametrize("workers", [2, 0])
def test_number_that_a_pipeline_reads_while_items_run_is_warned_of_once_for_all_workers(
    launch: Launcher, workers: int
) -> None:
    settings = {
        "MPWORKERS_PIPELINES": {"crawled.summing.Peeks": 300},
        "MPWORKERS_WORKERS": workers,
    }

    ended = launch.crawl("pages", HERE, **settings).finish()

    said = r"WARNING: The stat 'item_scraped_count' was read in a worker, .*"
    [line] = re.findall(said, ended.log)
    assert "inc_value" in line
