"""What a crawl says of pipelines that are wrong in several processes, and when it says nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .harness import Ended, Launcher, World

WORLD = World("asyncio", "forkserver")
MANY = "items=120"


def crawl(launch: Launcher, name: str, **settings: Any) -> Ended:
    pipelines = {"MPWORKERS_PIPELINES": {f"crawled.teaching.{name}": 300}}
    if "MPWORKERS_LEVELS" in settings:
        pipelines = {}
    return launch.crawl("start", WORLD, MANY, **pipelines, **settings).finish()


def warnings(ended: Ended) -> list[str]:
    return re.findall(r"(?:WARNING|ERROR): (.*)", ended.log)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Duplicates", "remembers in self.seen"),
        ("RemembersByAHelper", "has added to self.seen with the first 20 items"),
        ("Sleeps", "the first 50 items took"),
    ],
)
def test_one_line_for_all_workers(launch: Launcher, name: str, part: str) -> None:
    (line,) = warnings(crawl(launch, name))

    assert f"crawled.teaching.{name}" in line
    assert part in line
    assert "ITEM_PIPELINES" in line


def test_a_stateless_crawl_warns_of_nothing(launch: Launcher) -> None:
    ended = crawl(launch, "Computes")

    assert warnings(ended) == []
    assert ended.stats["computed"] == 120


@pytest.mark.parametrize("own", [{"workers": 1}, {"workers": 2, "key": "n"}], ids=str)
@pytest.mark.parametrize("name", ["Duplicates", "RemembersByAHelper"])
def test_a_level_that_keeps_a_memory_right_is_not_warned_of(
    launch: Launcher, name: str, own: dict[str, Any]
) -> None:
    level = {"name": "once", "pipelines": {f"crawled.teaching.{name}": 300}, **own}

    assert warnings(crawl(launch, name, MPWORKERS_LEVELS=[level])) == []


def test_in_this_process_nothing_is_warned_of(launch: Launcher) -> None:
    assert warnings(crawl(launch, "Duplicates", MPWORKERS_WORKERS=0)) == []
