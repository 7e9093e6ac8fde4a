"""A store level whose workers are killed again and again loses no row, and doubles none."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from system.crawls.harness import World
from system.recipes.book import make_project

if TYPE_CHECKING:
    from pathlib import Path

    from system.crawls.harness import Crawl, Ended, Launcher

#: workers, rows, rows between two deaths of a worker's own, kills from outside
SIZES = [
    (1, 5_000, 2_000, 3),
    pytest.param(1, 100_000, 10_000, 20, marks=pytest.mark.full),
    pytest.param(3, 100_000, 10_000, 20, marks=pytest.mark.full),
]
SECONDS = 300  # that the longest may take
BAD = 777
WORLD = World("asyncio", "forkserver")


@pytest.fixture
def settings(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A store level as in the recipe, with its pipeline's class made to die."""
    project = make_project(tmp_path / "project", "Store in a database", [])
    monkeypatch.setenv("PYTHONPATH", str(project))
    level = {
        "name": "store",
        "pipelines": {"crawled.stores.DiesStoring": 900},
        "batch_size": 500,
        "batch_seconds": 1.0,
        "wait": False,
    }
    return {"SPIDER_MODULES": ["crawled.stores"], "STORE_DSN": dsn, "MPWORKERS_LEVELS": [level]}


@pytest.mark.full
@pytest.mark.parametrize(("workers", "rows", "every", "kills"), SIZES)
def test_killed_workers_lose_no_row_and_double_none(
    launch: Launcher,
    dsn: str,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    rows: int,
    every: int,
    kills: int,
) -> None:
    monkeypatch.setenv("CRAWL_DIES_EVERY", str(every))
    settings["MPWORKERS_LEVELS"][0]["workers"] = workers
    crawl = launch.crawl("rows", WORLD, f"rows={rows}", f"bad={BAD}", **settings)
    crawl.deadline += SECONDS
    kill_often(crawl, kills, random.Random(rows))
    ended = crawl.finish()

    with psycopg.connect(dsn) as connection:
        stored = connection.execute("SELECT words, writes FROM pages ORDER BY words").fetchall()
    assert [n for n, _ in stored] == [n for n in range(1, rows + 1) if n != BAD]
    assert max(writes for _, writes in stored) > 1  # a worker died behind its commit
    assert_told(ended, rows, deaths=rows // every)


def kill_often(crawl: Crawl, kills: int, chance: random.Random) -> None:
    """Kill the youngest worker, at any moment: also of its opening or of a commit."""
    for n in range(1, kills + 1):
        victim = crawl.wait_told("opened", n)[-1]
        threading.Event().wait(chance.uniform(0, 0.5))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def assert_told(ended: Ended, rows: int, deaths: int) -> None:
    assert ended.exit_code == 0
    assert ended.stats["mpworkers/store/items/submitted"] == rows
    assert ended.stats["mpworkers/store/items/done"] == rows - 1
    assert ended.stats["mpworkers/store/items/failed"] == 1
    assert ended.log.count("InvalidTextRepresentation") >= 1
    assert ended.stats["mpworkers/store/workers/deaths/SIGKILL"] > deaths
    assert len(ended.items) == rows
