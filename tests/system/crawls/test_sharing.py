"""Several crawls in one process: they share workers, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from .harness import worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, World

SPIDERS = tuple(f"spider{n}" for n in range(5))


@worlds()
def test_five_spiders_at_once_have_two_workers_and_outcomes_of_their_own(
    launch: Launcher, world: World
) -> None:
    options = {"world": world, "SECONDS": 0.01}
    alone = launch.script(
        "many_spiders.py", "at_once", *SPIDERS, MPWORKERS_ENABLED=False, **options
    ).finish()
    shared = launch.script("many_spiders.py", "at_once", *SPIDERS, **options).finish()

    told = tale(shared)
    assert len({item["pid"] for item in shared.items}) == 2
    assert told["most_at_once"] == 2
    assert outcomes(shared) == outcomes(alone)
    for number, end in enumerate(told["ends"]):
        stats = end["stats"]
        assert stats["mpworkers/items/submitted"] == 10 + number
        assert stats["mpworkers/workers/started"] == 2
        assert [key for key in stats if key.startswith("seen/")] == [f"seen/spider{number}"]
    assert "Workers stopped." in shared.log
    assert told["servers"] == (1 if world.method == "forkserver" else 0)
    assert shared.log.count("Starting 2 workers") == 1
    assert shared.exit_code == 0


@worlds()
def test_five_spiders_in_turn_have_two_workers_each_and_leave_none(
    launch: Launcher, world: World
) -> None:
    ended = launch.script("many_spiders.py", "in_turn", *SPIDERS, world=world).finish()

    told = tale(ended)
    assert told["most_at_once"] == 2
    assert [end["left"] for end in told["ends"]] == [0] * 5
    assert len({item["pid"] for item in ended.items}) <= 10
    assert len(told["ready_after"]) == 5
    # The workers of all five come from the same server, which has imported everything once.
    assert told["servers"] == (1 if world.method == "forkserver" else 0)
    assert ended.exit_code == 0


@worlds(plain=False)
def test_a_crawl_that_begins_while_the_last_one_stops_its_workers_has_new_ones(
    launch: Launcher, world: World
) -> None:
    names = ("closes_slowly", "spider0")
    ended = launch.script("many_spiders.py", "one_behind", *names, world=world).finish()

    assert {end["name"]: end["stats"]["item_scraped_count"] for end in tale(ended)["ends"]} == {
        "closes_slowly": 6,
        "spider0": 6,
    }
    assert ended.log.count("Starting 2 workers") == 2
    assert ended.log.count("Workers stopped.") == 2


@pytest.mark.parametrize("broken", ["cannot_open", "dies_while_opening", "dies_of_items"])
@pytest.mark.parametrize("order", ["first", "last"])
@worlds(plain=False)
def test_a_broken_pipeline_of_one_spider_does_not_hurt_the_others(
    launch: Launcher, world: World, order: str, broken: str
) -> None:
    names = [broken, *SPIDERS[:3]] if order == "first" else [*SPIDERS[:3], broken]
    options = {"world": world, "SECONDS": 0.01}
    alone = launch.script(
        "many_spiders.py", "at_once", *SPIDERS[:3], MPWORKERS_ENABLED=False, **options
    ).finish()
    shared = launch.script("many_spiders.py", "at_once", *names, **options).finish()

    of_broken = {end["name"]: end for end in tale(shared)["ends"]}[broken]
    others = outcomes(shared)
    del others[broken]
    assert others == outcomes(alone)
    if broken == "dies_of_items":
        # The others have ended before the sixth item in a row is given up. That breaks the pool,
        # which is the crawl's own by then, and the spider yields no more.
        stats = of_broken["stats"]
        given_up = stats["mpworkers/items/dead_lettered"]
        assert 6 <= given_up == stats["mpworkers/items/submitted"]
        assert stats["finish_reason"] == "mpworkers_broken"
    else:
        assert of_broken["error"] is not None
        assert "item_scraped_count" not in of_broken["stats"]


def tale(ended: Ended) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    return told


def outcomes(ended: Ended) -> dict[str, Any]:
    """What each crawl had, however its pipelines ran."""
    told = tale(ended)
    items = Counter((item["by"], item["n"]) for item in ended.items)
    found = {}
    for end in told["ends"]:
        name, stats = end["name"], end["stats"]
        found[name] = {
            "items": sorted(n for (by, n), count in items.items() if by == name and count == 1),
            "messages": sorted(text for by, text in told["messages"] if by == name),
            "stats": {
                key: value
                for key, value in stats.items()
                if key.startswith(("item_", "seen/", "finish_reason"))
            },
            "error": end["error"],
        }
    return found
