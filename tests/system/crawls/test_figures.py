"""Figures say what was: each item counts once, and time that led to nothing counts too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import rotated

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
