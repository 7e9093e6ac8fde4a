from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "win32":
    from system.crawls.harness import World

    from .book import NOTHING, make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from system.crawls.harness import Ended, Launcher


@pytest.fixture
def cook(launch: Launcher, tmp_path: Path) -> Callable[..., tuple[Path, Ended]]:
    """Runs a crawl of these items with a recipe, and *also* with some code more.

    It returns the folder of the project, and the ended crawl.
    """

    def run(
        recipe: str,
        items: list[dict[str, Any]],
        name: str = "project",
        also: Mapping[str, str] = NOTHING,
        spider: str = "items",
        **settings: Any,
    ) -> tuple[Path, Ended]:
        project = make_project(tmp_path / name, recipe, items, also)
        world = World("asyncio", "forkserver")
        ended = launch.scrapy("crawl", spider, cwd=project, world=world, **settings).finish()
        assert ended.exit_code == 0, ended.log
        return project, ended

    return run
