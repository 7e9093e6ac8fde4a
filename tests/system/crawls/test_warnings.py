"""What a crawl says of pipelines that are wrong in several processes, and when it says nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from projects import make_project

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
        pytest.param(
            "RemembersByAHelper",
            "has added to self.seen with the first 20 items",
            marks=pytest.mark.full,
        ),
        ("Sleeps", "the first 50 items took"),
    ],
)
def test_one_line_for_all_workers(launch: Launcher, name: str, part: str) -> None:
    (line,) = warnings(crawl(launch, name))

    assert f"crawled.teaching.{name}" in line
    assert part in line
    assert "ITEM_PIPELINES" in line


@pytest.mark.parametrize(
    "workers", [2, pytest.param(4, marks=pytest.mark.full), pytest.param(0, marks=pytest.mark.full)]
)
def test_a_warning_of_python_is_logged_once_for_all_workers(launch: Launcher, workers: int) -> None:
    pipelines = {"crawled.pipelines.Gate": 200, "crawled.teaching.WarnsOfItself": 300}
    settings = {"MPWORKERS_PIPELINES": pipelines, "MPWORKERS_WORKERS": workers}
    crawl = launch.crawl("start", WORLD, MANY, held=True, **settings)
    crawl.wait_told("busy", workers or 1)  # each worker holds one item, so that each one warns
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.log.count("UserWarning: as old as the hills") == 1


def test_a_stateless_crawl_warns_of_nothing(launch: Launcher) -> None:
    ended = crawl(launch, "Computes")

    assert warnings(ended) == []
    assert ended.stats["computed"] == 120


@pytest.mark.full
@pytest.mark.parametrize("own", [{"workers": 1}, {"workers": 2, "key": "n"}], ids=str)
@pytest.mark.parametrize("name", ["Duplicates", "RemembersByAHelper"])
def test_a_level_that_keeps_a_memory_right_is_not_warned_of(
    launch: Launcher, name: str, own: dict[str, Any]
) -> None:
    level = {"name": "once", "pipelines": {f"crawled.teaching.{name}": 300}, **own}

    assert warnings(crawl(launch, name, MPWORKERS_LEVELS=[level])) == []


@pytest.mark.full
def test_in_this_process_nothing_is_warned_of(launch: Launcher) -> None:
    assert warnings(crawl(launch, "Duplicates", MPWORKERS_WORKERS=0)) == []


FAILING = ("StoresByTwisted", "Calls", "AsksItsResponse", "HearsOfItems")


@pytest.mark.full
def test_a_crawl_warns_once_of_all_that_the_check_says_would_fail(launch: Launcher) -> None:
    pipelines = {f"crawled.teaching.{name}": 300 + n for n, name in enumerate(FAILING)}
    words = ("mpworkers", "check", "start")
    checked = launch.scrapy(*words, world=WORLD, MPWORKERS_PIPELINES=pipelines).finish()

    ended = launch.crawl("start", WORLD, MANY, MPWORKERS_PIPELINES=pipelines).finish()

    told = re.findall(r"would fail +(\S+)", checked.out)
    assert len(told) == 6
    lines = [line for line in warnings(ended) if "which fails in a worker" in line]
    assert len(lines) == len(told)
    for what in told:
        [line] = [line for line in lines if f"uses {what.rstrip(':')}" in line]
        assert re.search(r"teaching\.py:\d+", line)
        assert "ITEM_PIPELINES" in line
    assert checked.exit_code == 1
    assert ended.exit_code == 0


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_script_would_read_is_warned_of_with_one_worker_too(
    launch: Launcher, workers: int
) -> None:
    [line] = warnings(crawl(launch, "Collects", MPWORKERS_WORKERS=workers))

    assert "crawled.teaching.Collects adds to self.results, which nothing in it reads" in line


SETTINGS = {
    "+shop/settings.py": """
        import os, shutil

        started = open("started.txt", "w")
        if "MPWORKERS_IN_WORKER" not in os.environ:
            shutil.rmtree("out", ignore_errors=True)
    """
}
SPIDER = {
    "+shop/spiders.py": """
        found = open("found.csv", "w")
    """
}


@pytest.mark.full
@pytest.mark.parametrize(("method", "told"), [("spawn", 1), ("fork", 0)])
@pytest.mark.parametrize(
    ("files", "who", "where"),
    [
        (SETTINGS, "The settings module shop.settings", "settings.py:11"),
        (SPIDER, "The spider's module shop.spiders", "spiders.py:12"),
    ],
    ids=["settings", "spider"],
)
def test_lines_that_workers_run_again_are_warned_of(
    launch: Launcher,
    tmp_path: Path,
    files: dict[str, str],
    who: str,
    where: str,
    method: str,
    told: int,
) -> None:
    folder, world = make_project(tmp_path / "project", files), World("asyncio", method)
    checked = launch.scrapy("mpworkers", "check", "things", cwd=folder, world=world).finish()

    ended = launch.scrapy("crawl", "things", cwd=folder, world=world).finish()

    lines = warnings(ended)
    assert len(lines) == told
    text = " ".join(checked.out.split())
    assert f"nothing would fail, {told} warning" in text
    for line in lines:
        assert line.startswith(f"{who} opens a file for writing")
        assert where in line
        assert 'if "MPWORKERS_IN_WORKER" not in os.environ:' in line
        assert "opens a file for writing" in text
