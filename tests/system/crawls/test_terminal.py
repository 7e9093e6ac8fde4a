"""What pipelines print, and what they would read from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import crawl_project

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Ended, Launcher


def crawl(launch: Launcher, folder: Path, pipelines: str, method: str, **settings: Any) -> Ended:
    return crawl_project(launch, folder, {"shop/pipelines.py": pipelines}, method, **settings)


ASKS = """
    import pdb

    class Price:
        def process_item(self, item):
            if item["n"] == 1:
                pdb.set_trace()
            if item["n"] == 2:
                input("price? ")
            return item
"""


@pytest.mark.parametrize("method", plain_first(["forkserver", "fork", "spawn"]))
def test_a_debugger_in_a_worker_says_where_it_works(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    ended = crawl(launch, tmp_path / "project", ASKS, method)

    assert ended.numbers == [0, 3, 4, 5, 6, 7], ended.log
    told = [line.text for line in ended.lines if line.text.startswith("scrapy_mpworkers.errors.")]
    assert len([text for text in told if "-s MPWORKERS_WORKERS=0" in text]) >= 2


PRINTS = """
    class Price:
        def open_spider(self):
            print("open")

        def process_item(self, item):
            print(f"item {item['n']}", flush=True)
            return item
"""


@pytest.mark.parametrize("method", plain_first(["forkserver", "fork", "spawn"], 2))
def test_what_a_pipeline_prints_is_logged_if_the_crawl_logs_it(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    ended = crawl(launch, tmp_path / "project", PRINTS, method, LOG_STDOUT=True)

    shown = [line.text.partition("[stdout] ")[2] for line in ended.lines]
    items = [f"INFO: item {n}" for n in range(8)]
    assert sorted(filter(None, shown)) == [*items, "INFO: open"]  # of opening one worker speaks
    assert ended.out == ""


def test_without_that_setting_it_is_printed(launch: Launcher, tmp_path: Path) -> None:
    ended = crawl(launch, tmp_path / "project", PRINTS, "forkserver", MPWORKERS_WORKERS=1)

    assert ended.out.splitlines() == ["open", *(f"item {n}" for n in range(8))]
