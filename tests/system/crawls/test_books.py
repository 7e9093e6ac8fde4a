"""Who opens, who is to blame, and what is counted: over all workers of a crawl."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from .harness import offload, worlds

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Launcher, World


@worlds()
def test_item_that_closes_the_files_of_its_worker_runs_three_times_at_most_and_costs_no_other(
    launch: Launcher, world: World
) -> None:
    crawl = launch.crawl("pages", world, "items=400", **offload("crawled.books.ClosesFilesAt7"))
    ended = crawl.finish()

    # The outcome is in the outbox, unless the worker ends even sooner.
    lost = ended.stats["mpworkers/items/dead_lettered"]
    assert [fact[:2] for fact in ended.told("failed")] == [[7, "WorkerDied"]] * int(lost)
    assert ended.stats["mpworkers/items/done"] == 400 - lost
    assert len(ended.told("closes")) == ended.stats["mpworkers/workers/deaths"] <= 3
    assert not lost or len(ended.told("closes")) == 3


@pytest.mark.parametrize(
    "early",
    [
        pytest.param(False, id="open_spider"),
        pytest.param(True, id="__init__", marks=pytest.mark.full),
    ],
)
@worlds()
def test_what_a_pipeline_creates_when_it_opens_is_created_by_one_worker(
    launch: Launcher, world: World, tmp_path: Path, early: bool
) -> None:
    table = {"TABLE": str(tmp_path / "table.db"), "EARLY": early}
    crawl = launch.crawl(
        "pages", world, held=True, **offload("crawled.books.FillsItsTable", "Gate"), **table
    )
    crawl.wait_told("opened", 4)  # by two pipelines in two workers
    crawl.open_gate()
    ended = crawl.finish()

    assert {item["words"] for item in ended.items} == {20_000}
    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert "could not open" not in ended.log


@worlds()
def test_stats_collector_that_fails_while_workers_open_ends_the_crawl(
    launch: Launcher, world: World
) -> None:
    stats = {"STATS_CLASS": "crawled.remote.Remote"}
    ended = launch.crawl(
        "pages", world, **offload("crawled.remote.CountsOpening"), **stats
    ).finish()

    assert "ConnectionError: the statistics server is away" in ended.log
    assert ended.told("yielded") == []


@worlds()
def test_stats_collector_that_fails_while_workers_close_is_told_once_for_each(
    launch: Launcher, world: World
) -> None:
    stats = {"STATS_CLASS": "crawled.remote.Remote"}
    ended = launch.crawl(
        "pages", world, **offload("crawled.remote.CountsClosing"), **stats
    ).finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    failures = ended.log.count("which has closed, could not be taken over")
    assert failures == len(ended.told("closed")) >= 1
    assert "what they still held is lost" not in ended.log


@worlds(plain=False)
def test_worker_that_cannot_open_is_tried_again_while_another_works(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    tries = {"TRIES": str(tmp_path / "tries")}
    crawl = launch.crawl(
        "pages", world, held=True, **offload("crawled.books.OpensAtItsFourth", "Gate"), **tries
    )
    crawl.wait_told("opened", 3)  # one by both pipelines, the other up to here
    crawl.open_gate()
    ended = crawl.finish()

    moments = [line.time for line in ended.lines if re.match("@(refused|opened)", line.text)]
    first_try, second_try, third_try = moments[2:5]  # behind both of the worker that opens
    assert second_try - first_try > 0.4
    assert third_try - second_try > 0.8  # longer each time
    assert len(ended.told("refused")) == 2
    assert ended.log.count("could not open its pipelines") == 2
    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert ended.exit_code == 0


@worlds()
def test_what_workers_count_when_they_close_adds_up_and_what_they_set_is_of_one(
    launch: Launcher, world: World
) -> None:
    options = offload("crawled.books.FlushesAtClose") | {"MPWORKERS_WORKER_MAX_ITEMS": 20}
    ended = launch.crawl("pages", world, "items=90", **options).finish()

    flushed = [rows for _, rows in ended.told("flushed")]
    # A worker that is recycled closes in the middle of the crawl, if its relief is there by then.
    assert len(flushed) >= (2 if world.method == "spawn" else 3)
    assert sum(flushed) == ended.stats["writer/rows"] == 90
    assert ended.stats["writer/largest"] == 90
    assert ended.stats["writer/own"] in flushed
    assert ended.stats["writer/closed"] == len(flushed)
    assert ended.stats["writer/opened"] == 1


@worlds(plain=False)
def test_time_in_which_all_processes_were_frozen_is_over_no_limit(
    launch: Launcher, world: World
) -> None:
    # The spider is closing, so that both limits run.
    limits = {"MPWORKERS_ITEM_TIMEOUT": 1.5, "MPWORKERS_CLOSE_TIMEOUT": 1.5}
    options = offload("crawled.books.TakesATime") | limits
    crawl = launch.crawl("pages", world, "items=8", "stop=enough", **options)
    crawl.wait_told("busy", 3)

    crawl.signal_each(signal.SIGSTOP)
    time.sleep(2.5)
    crawl.signal_each(signal.SIGCONT)
    ended = crawl.finish()

    assert ended.numbers == list(range(1, 9))
    assert ended.stats["mpworkers/items/done"] == 8
    assert ended.stats["mpworkers/workers/deaths"] == 0
