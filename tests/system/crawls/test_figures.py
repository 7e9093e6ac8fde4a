"""Figures say what was: each item counts once, and time that led to nothing counts too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .harness import offload, rotated, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, World

OUTCOMES = ("submitted", "done", "dropped", "failed", "dead_lettered")


def two_levels(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    one = {"name": "one", "workers": 1, "pipelines": {"crawled.losing.First": 100}}
    two = {"name": "two", "workers": 1, "pipelines": {"crawled.losing.Second": 300}}
    levels = [{**one, **first}, {**two, **second}]
    return {"MPWORKERS_LEVELS": levels, "MPWORKERS_REDELIVER_TIMES": 0}


ONE_ROUTE = two_levels({}, {})
TWO_ROUTES = ONE_ROUTE | {"ITEM_PIPELINES": {"crawled.losing.AtHome": 200}}
SECOND_NOT_AWAITED = two_levels({}, {"wait": False})
FIRST_NOT_AWAITED = two_levels({"wait": False}, {})


def counts(ended: Ended, of: str) -> list[float]:
    return [ended.stats[f"mpworkers/{of}/{name}"] for name in OUTCOMES]


LAYOUTS = {
    "one_route": (ONE_ROUTE, [17, 15, 1, 1, 0]),
    "two_routes": (TWO_ROUTES, [16, 14, 1, 1, 0]),
    "second_not_awaited": (SECOND_NOT_AWAITED, [17, 15, 1, 1, 0]),
    "first_not_awaited": (FIRST_NOT_AWAITED, [20, 18, 1, 1, 0]),
}


@rotated("layout", list(LAYOUTS), plain=4)
def test_item_counts_once_whatever_its_way_and_at_each_hop_that_it_comes_to(
    launch: Launcher, layout: str, world: World
) -> None:
    settings, second_hop = LAYOUTS[layout]
    ended = launch.crawl("pages", world, "items=20", **settings).finish()

    assert counts(ended, "items") == [20, 15, 2, 2, 1]
    assert counts(ended, "hops/0") == counts(ended, "one/items") == [20, 17, 1, 1, 1]
    assert counts(ended, "hops/1") == counts(ended, "two/items") == second_hop


@rotated("limit", ["MPWORKERS_CLOSE_TIMEOUT", "MPWORKERS_ITEM_TIMEOUT"], start=2, plain=2)
def test_worker_that_hangs_was_busy_and_the_advice_says_that_it_came_to_nothing(
    launch: Launcher, limit: str, world: World
) -> None:
    settings = {"MPWORKERS_WORKERS": 1, limit: 3.0, "LOGSTATS_INTERVAL": 0.5} | offload("Stuck")
    ended = launch.crawl("pages", world, "items=1", "stop=enough", **settings).finish()

    assert ended.stats["mpworkers/time/busy_s"] >= 2.9
    assert ended.stats["mpworkers/pool/utilisation"] > 0.5
    assert re.search(r"Workers: \d\d+% busy, 0 items done .*, 1 on their way", ended.log)
    assert re.search(r"\n  slowest     [3-9]\.\d s     1\n", ended.log)
    assert re.search(r"\n  advice      workers spent \d s of \d s with items that", ended.log)


@worlds()
def test_who_reads_the_stats_while_the_crawl_runs_finds_them_fresh(
    launch: Launcher, world: World
) -> None:
    reads = {"EXTENSIONS": {"crawled.reading.Reads": 500}}
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"), **reads)

    crawl.wait_until_told("stats", lambda fact: fact == [6, 6, True])
    crawl.open_gate()
    ended = crawl.finish()

    assert counts(ended, "items") == [6, 6, 0, 0, 0]
    assert "Traceback" not in ended.log
