"""Results of a response: a task for each that there is, with Scrapy's limit, order and outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import MODES, World

if TYPE_CHECKING:
    from .harness import Launcher

LIMIT = 4
KINDS = ("many", "listed", "coming", "awaited", "none", "mixed", "breaks", "breaks_while_coming")


def both(launch: Launcher, mode: str, *kinds: str, **settings: Any) -> tuple[Any, Any]:
    """Return what a crawl with workers and a plain one beside it tell of such responses."""
    ended = launch.script(
        "yielding.py", *kinds, world=World(mode, "forkserver"), **settings
    ).finish()
    assert ended.exit_code == 0
    told = json.loads(ended.out)
    return told["workers"], told.get("plain")


@pytest.mark.parametrize("mode", plain_first(MODES))
def test_results_of_a_response_have_scrapys_limit_order_and_outcome(
    launch: Launcher, mode: str
) -> None:
    ours, plain = both(launch, mode, *KINDS)

    assert not plain["changed"]
    assert ours["changed"] is (mode != "default")
    assert ours["most"]["many"] == ours["most"]["coming"] == LIMIT
    for kind in KINDS:
        assert ours["order"].get(kind) == plain["order"].get(kind)
        assert sorted(ours["scraped"].get(kind, [])) == sorted(plain["scraped"].get(kind, []))
    assert sorted(ours["scraped"]["behind"]) == sorted(plain["scraped"]["behind"])
    assert sorted(ours["errors"]) == sorted(plain["errors"])
    assert ours["reason"] == plain["reason"] == "finished"


@pytest.mark.parametrize("mode", plain_first(["none", "asyncio"]))
def test_a_result_is_asked_for_when_there_is_room_for_it(launch: Launcher, mode: str) -> None:
    ours, plain = both(launch, mode, "many", "coming")

    assert ours["ahead"]["many"] == ours["ahead"]["coming"] == LIMIT
    assert plain["ahead"]["many"] > LIMIT


@pytest.mark.full
@pytest.mark.parametrize("mode", ["asyncio", "none"])
def test_response_that_closes_the_spider_ends_with_what_it_has_yielded(
    launch: Launcher, mode: str
) -> None:
    ours, plain = both(launch, mode, "closes")

    assert ours["reason"] == plain["reason"] == "enough"
    assert ours["order"] == plain["order"]
    assert sorted(ours["scraped"]["closes"]) == sorted(plain["scraped"]["closes"])


@pytest.mark.full
@pytest.mark.parametrize("mode", ["none", "asyncio"])
def test_call_that_raises_ends_neither_its_response_nor_another(
    launch: Launcher, mode: str
) -> None:
    settings = {"LOG_FORMATTER": "__main__.SaysBadly", "WITHOUT_PLAIN": True}

    # Scrapy's crawl would hang: each of the tasks of "listed" ends, and nobody takes the rest.
    ours, _ = both(launch, mode, "listed", "many", **settings)

    assert ours["order"]["listed"] == ours["order"]["many"] == list(range(20))
    assert len(ours["scraped"]["many"]) == 19
    assert ours["reason"] == "finished"
