"""What pipelines print, and what they would read from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first
from projects import make_project

from .harness import World

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Ended, Launcher


def crawl(launch: Launcher, folder: Path, pipelines: str, method: str, **settings: Any) -> Ended:
    project = make_project(folder, {"shop/pipelines.py": pipelines})
    world = World("asyncio", method)
    return launch.scrapy("crawl", "things", cwd=project, world=world, **settings).finish()


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
