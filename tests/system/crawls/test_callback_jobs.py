"""Callbacks in workers with a ``JOBDIR``: a crawl that pauses, and one that is killed."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .harness import DEADLINE, World, worlds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness import Crawl, Launcher

HERE = World("asyncio", "forkserver")
TO_A_HOP = {
    "ITEM_PIPELINES": {"crawled.callbacks.DropsOdd": 200, "crawled.kept.SeenBehind": 500},
    "MPWORKERS_PIPELINES": {"crawled.pipelines.Gate": 300},
    "CONCURRENT_ITEMS": 300,  # all of the first part come to the hop
}
TO_NO_HOP = {"ITEM_PIPELINES": {"crawled.kept.SeenBehind": 500}}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job"


def journaled(job: Path, **settings: Any) -> dict[str, Any]:
    return {"JOBDIR": str(job), "MPWORKERS_JOURNAL": True, "MPWORKERS_WORKERS": 3, **settings}


@worlds()
def test_crawl_that_pauses_goes_on_where_it_was(launch: Launcher, world: World, job: Path) -> None:
    settings = {"JOBDIR": str(job), "CONCURRENT_REQUESTS": 2}
    # More pages than are taken before the brake.
    crawl = launch.crawl("held", world, "pages=40", held=True, **settings)
    crawl.wait_told("busy", 2)
    crawl.send(signal.SIGINT)
    crawl.wait_for("Closing spider")
    crawl.open_gate()
    first = crawl.finish()

    again = launch.crawl("held", world, "pages=40", **settings).finish()

    assert 2 <= len(first.numbers) < 40
    assert sorted(first.numbers + again.numbers) == list(range(40))
    assert again.exit_code == 0


@worlds()
def test_callbacks_under_way_outlive_a_kill_of_the_crawl(
    launch: Launcher, world: World, job: Path
) -> None:
    crawl = launch.crawl("held", world, "pages=2", held=True, **journaled(job))
    crawl.wait_told("busy", 2)
    wait_for_rows(job, "entry", lambda: 2)
    crawl.kill_main()
    crawl.finish(grace=5)

    again = launch.crawl("held", world, "pages=0", **journaled(job)).finish()

    assert again.numbers == [0, 1]
    assert "Resuming 2 items of an earlier run" in again.log
    assert rows(job, "entry") == 0


@worlds()
def test_callbacks_under_way_end_in_a_crawl_that_offloads_none(
    launch: Launcher, world: World, job: Path
) -> None:
    settings = journaled(job, MPWORKERS_PIPELINES={"crawled.pipelines.Mark": 300})
    named = settings | {"MPWORKERS_CALLBACKS": ["parse"]}
    crawl = launch.crawl("unmarked", world, "pages=2", held=True, **named)
    crawl.wait_told("busy", 2)
    wait_for_rows(job, "entry", lambda: 2)
    crawl.kill_main()
    crawl.finish(grace=5)

    again = launch.crawl("unmarked", world, "pages=0", **settings).finish()

    assert again.numbers == [0, 1]
    assert rows(job, "entry") == 0


@worlds()
@pytest.mark.parametrize("way", [TO_A_HOP, TO_NO_HOP], ids=["hop", "no hop"])
def test_results_that_are_safe_do_not_come_again(
    launch: Launcher, world: World, job: Path, way: dict[str, Any]
) -> None:
    crawl = torn(launch, world, job, way)

    again = launch.crawl("torn", world, "pages=0", **journaled(job, **way)).finish()

    assert sorted(crawl.finish(grace=5).told("behind") + again.told("behind")) == list(range(210))
    assert rows(job, "entry") == rows(job, "safe") == 0


def test_page_that_comes_again_may_have_its_results_in_another_order(
    launch: Launcher, job: Path
) -> None:
    crawl = torn(launch, HERE, job, TO_A_HOP)

    options = journaled(job, **TO_A_HOP)
    again = launch.crawl("torn", HERE, "pages=0", "other=1", **options).finish()

    assert sorted(crawl.finish(grace=5).told("behind") + again.told("behind")) == list(range(210))


def test_callback_that_is_killed_twice_has_one_row_and_no_result_twice(
    launch: Launcher, job: Path
) -> None:
    first = torn(launch, HERE, job, TO_NO_HOP)
    options = journaled(job, **TO_NO_HOP)
    second = launch.crawl("torn", HERE, "pages=0", held=True, **options)
    second.wait_told("torn")
    second.kill_main()
    ended = [crawl.finish(grace=5) for crawl in (first, second)]

    left = rows(job, "entry")
    ended.append(launch.crawl("torn", HERE, "pages=0", **options).finish())

    assert left == 1
    assert sorted(n for one in ended for n in one.told("behind")) == list(range(210))
    assert rows(job, "entry") == rows(job, "safe") == 0


@pytest.mark.parametrize(("middleware", "read"), [("Impatient", 9), ("Deaf", 0)])
@pytest.mark.parametrize("count", [10, 1000])
def test_results_that_nobody_reads_are_not_for_the_next_run(
    launch: Launcher, job: Path, middleware: str, read: int, count: int
) -> None:
    settings = journaled(job, SPIDER_MIDDLEWARES={f"crawled.callbacks.{middleware}": 500})
    ended = launch.crawl("counting", HERE, f"count={count}", "pages=3", **settings).finish()

    assert len(ended.numbers) == read
    assert rows(job, "entry") == 0


def test_items_that_a_pipeline_has_replaced_are_not_for_the_next_run(
    launch: Launcher, job: Path
) -> None:
    settings = journaled(job, ITEM_PIPELINES={"crawled.callbacks.Replaced": 300})
    ended = launch.crawl("counting", HERE, "count=1000", **settings).finish()

    assert len(ended.numbers) == 1000
    assert rows(job, "entry") == rows(job, "safe") == 0


def test_results_on_their_way_to_a_hop_come_again_though_their_callback_has_ended(
    launch: Launcher, job: Path
) -> None:
    # The first three are held by a pipeline of Scrapy's process, before the hop.
    settings = journaled(
        job,
        CONCURRENT_ITEMS=3,
        ITEM_PIPELINES={"crawled.callbacks.SlowGate": 100, "crawled.kept.SeenBehind": 500},
    )
    crawl = launch.crawl("counting", HERE, "count=10", held=True, **settings)
    crawl.wait_told("held", 3)
    wait_for_rows(job, "entry", lambda: 1)
    crawl.kill_main()
    crawl.finish(grace=5)

    again = launch.crawl("counting", HERE, "pages=0", **settings).finish()

    assert sorted(again.told("behind")) == list(range(10))
    assert rows(job, "entry") == 0


def test_copy_that_is_at_a_hop_makes_not_the_item_itself_safe(launch: Launcher, job: Path) -> None:
    level = {"name": "store", "pipelines": {"crawled.pipelines.Mark": 300}, "wait": False}
    settings = journaled(
        job, MPWORKERS_LEVELS=[level], ITEM_PIPELINES={"crawled.callbacks.SlowGate": 500}
    )
    crawl = launch.crawl("counting", HERE, "count=5", held=True, **settings)
    crawl.wait_told("held", 5)
    wait_for_rows(job, "entry", lambda: 1)  # the copies have their outcome
    crawl.kill_main()
    crawl.finish(grace=5)

    again = launch.crawl("counting", HERE, "pages=0", "count=5", **settings).finish()

    assert again.numbers == [0, 1, 2, 3, 4]


def torn(launch: Launcher, world: World, job: Path, way: dict[str, Any]) -> Crawl:
    """Kill a crawl between two parts of its callback."""
    crawl = launch.crawl("torn", world, held=True, **journaled(job, **way))
    crawl.wait_told("torn")
    # All of the first part have an outcome, or half of them have and the others are at the hop.
    held = 0 if way is TO_NO_HOP else 100
    wait_for_rows(job, "safe", lambda: 200)
    crawl.wait_told("behind", 200 - held)
    wait_for_rows(job, "entry", lambda: 1 + held)
    crawl.kill_main()
    crawl.finish(grace=5)
    return crawl


def wait_for_rows(job: Path, table: str, count: Callable[[], int]) -> None:
    deadline = time.monotonic() + DEADLINE
    while rows(job, table) != count():
        assert time.monotonic() < deadline, f"{rows(job, table)} rows of {table} in the journal"
        time.sleep(0.01)  # another process's database tells of nothing


def rows(job: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(job / "mpworkers-journal.sqlite")) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
