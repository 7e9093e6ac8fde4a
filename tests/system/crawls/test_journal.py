"""Items that are at workers when the whole crawl is killed are processed by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import DEADLINE, World, offload, path, worlds

if TYPE_CHECKING:
    from .harness import Crawl, Launcher

HERE = World("asyncio", "forkserver")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job"


def journaled(job: Path, **settings: Any) -> dict[str, Any]:
    return {
        "JOBDIR": str(job),
        "MPWORKERS_JOURNAL": True,
        "MPWORKERS_PIPELINES": {path("Gate"): 300},
        "ITEM_PIPELINES": {"crawled.kept.Once": 100, "crawled.kept.SeenBehind": 500},
        **settings,
    }


def killed(
    launch: Launcher, world: World, items: int, settings: dict[str, Any], of: str = path("Gate")
) -> Crawl:
    """A crawl that was killed with all its items at the gate, or on their way there."""
    job = Path(settings["JOBDIR"])
    crawl = launch.crawl("start", world, f"items={items}", held=True, **settings)
    crawl.wait_told("busy")
    wait_for_entries(job, items, of)
    crawl.kill_main()
    ended = crawl.finish(grace=5)
    assert ended.exit_code == -signal.SIGKILL
    assert ended.items == []
    return crawl


def wait_for_entries(job: Path, count: int, of: str = path("Gate")) -> None:
    """Wait until so many items are on record, on their way to this pipeline."""
    deadline = time.monotonic() + DEADLINE
    while hops_in(job).count(json.dumps([of])) < count:
        assert time.monotonic() < deadline, f"{hops_in(job)} in the journal"
        time.sleep(0.01)  # another process's database tells of nothing


def hops_in(job: Path) -> list[str]:
    """The hop of each entry in the journal."""
    with contextlib.closing(sqlite3.connect(job / "mpworkers-journal.sqlite")) as database:
        return [hop for (hop,) in database.execute("SELECT hop FROM entry ORDER BY id")]


@worlds()
def test_items_at_the_gate_outlive_a_kill_of_the_crawl(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 6, journaled(job))

    ended = launch.crawl("start", world, "items=0", **journaled(job)).finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert sorted(ended.told("behind")) == [1, 2, 3, 4, 5, 6]
    assert sorted(ended.told("scraped")) == [1, 2, 3, 4, 5, 6]
    assert ended.told("seen") == []
    assert ended.stats["item_scraped_count"] == 6
    assert ended.stats["mpworkers/items/submitted"] == 6
    assert ended.exit_code == 0
    assert hops_in(job) == []


@worlds(plain=False)
def test_more_items_than_may_be_pending_outlive_it(
    launch: Launcher, world: World, job: Path
) -> None:
    settings = journaled(job, MPWORKERS_MAX_PENDING=5)
    crawl = launch.crawl("pages", world, "items=40", held=True, **settings)
    crawl.wait_told("busy")
    wait_for_entries(job, 40)
    crawl.kill_main()
    crawl.finish(grace=5)

    ended = launch.crawl("start", world, "items=0", **settings).finish()

    assert ended.numbers == list(range(1, 41))
    assert ended.told("seen") == []


@worlds()
def test_what_nobody_waits_for_stays_kept_when_the_spider_closes(
    launch: Launcher, world: World, job: Path
) -> None:
    level = {"name": "store", "pipelines": {path("Gate"): 300}, "wait": False}
    settings = journaled(job, MPWORKERS_PIPELINES={}, MPWORKERS_LEVELS=[level], ITEM_PIPELINES={})
    first = launch.crawl("pages", world, "items=40", held=True, **settings)
    first.wait_told("busy")
    wait_for_entries(job, 40)
    first.kill_main()
    first.finish(grace=5)

    bound = {"MPWORKERS_LEVELS": [level | {"max_pending": 5}], "CLOSESPIDER_TIMEOUT": 1}
    second = launch.crawl("start", world, "items=0", held=True, **settings | bound)
    second.wait_for("Closing spider")
    second.open_gate()
    closed = second.finish()
    left = len(hops_in(job))
    launch.crawl("start", world, "items=0", **settings).finish()

    assert 30 <= left < 40
    assert f"{left} items of an earlier run stay in the journal for the next one" in closed.log
    assert hops_in(job) == []


@worlds()
def test_resumed_items_come_before_those_of_start(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 3, journaled(job))

    ended = launch.crawl("start", world, "items=5", **journaled(job)).finish()

    # The spider yields the first three again; the dupe filter has met them.
    assert ended.told("seen") == [1, 2, 3, 4, 5]
    assert [number for number, _ in ended.told("dropped")] == [1, 2, 3]
    assert ended.numbers == [1, 2, 3, 4, 5]
    assert ended.told("busy")[0][0] in (1, 2, 3)


@worlds(plain=False)
def test_items_that_are_killed_twice_outlive_that_too(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 4, journaled(job))
    second = launch.crawl("start", world, "items=0", held=True, **journaled(job))
    second.wait_told("busy")
    second.kill_main()
    second.finish(grace=5)
    assert len(hops_in(job)) == 4

    ended = launch.crawl("start", world, "items=0", **journaled(job)).finish()

    assert ended.numbers == [1, 2, 3, 4]
    assert hops_in(job) == []


@worlds(plain=False)
def test_items_at_the_gate_outlive_a_second_ctrl_c(
    launch: Launcher, world: World, job: Path
) -> None:
    crawl = launch.crawl("start", world, "items=6", held=True, **journaled(job))
    crawl.wait_told("busy")
    wait_for_entries(job, 6)
    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT, shutting down gracefully")
    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT twice")
    crawl.finish(grace=5)

    ended = launch.crawl("start", world, "items=0", **journaled(job)).finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert hops_in(job) == []


@pytest.mark.full
def test_where_nothing_is_offloaded_no_journal_is_touched(launch: Launcher, job: Path) -> None:
    settings = journaled(job, MPWORKERS_ENABLED=False)
    ended = launch.crawl("start", HERE, "items=3", **settings).finish()

    assert ended.numbers == [1, 2, 3]
    assert not (job / "mpworkers-journal.sqlite").exists()


@worlds(plain=False)
def test_item_of_a_second_hop_goes_on_there(launch: Launcher, world: World, job: Path) -> None:
    pipelines = {path("Mark"): 200, "crawled.kept.SecondGate": 300}
    settings = journaled(
        job,
        MPWORKERS_PIPELINES=pipelines,
        ITEM_PIPELINES={"crawled.kept.Once": 250, "crawled.kept.SeenBehind": 500},
    )
    # No more than there are workers, or one could be at the first hop behind those at the gate.
    killed(launch, world, 2, settings, of="crawled.kept.SecondGate")
    assert len(hops_in(job)) == 2

    ended = launch.crawl("start", world, "items=0", **settings).finish()

    assert ended.numbers == [1, 2]
    assert sorted(ended.told("second")) == [1, 2]
    assert ended.told("seen") == []
    assert ended.stats["mpworkers/items/submitted"] == 2


@worlds(plain=False)
def test_item_of_a_first_hop_meets_all_that_follows(
    launch: Launcher, world: World, job: Path
) -> None:
    pipelines = {path("Gate"): 200, path("Mark"): 300}
    behind = {"crawled.kept.Seen": 250, "crawled.kept.Once": 100}
    settings = journaled(job, MPWORKERS_PIPELINES=pipelines, ITEM_PIPELINES=behind)
    killed(launch, world, 4, settings)

    settings["ITEM_PIPELINES"] = {"crawled.kept.SeenBehind": 250, "crawled.kept.Once": 100}
    ended = launch.crawl("start", world, "items=0", **settings).finish()

    assert sorted(ended.told("behind")) == [1, 2, 3, 4]
    assert ended.told("seen") == []
    assert ended.numbers == [1, 2, 3, 4]
    assert ended.stats["mpworkers/items/submitted"] == 4  # each once, though it meets two hops


@worlds(plain=False)
def test_clean_run_leaves_an_empty_journal(launch: Launcher, world: World, job: Path) -> None:
    ended = launch.crawl("pages", world, "items=200", **journaled(job)).finish()

    assert ended.numbers == list(range(1, 201))
    assert hops_in(job) == []
    assert [file.name for file in job.glob("mpworkers*")] == ["mpworkers-journal.sqlite"]
    assert (job / "mpworkers-journal.sqlite").stat().st_mode & 0o777 == 0o600


@worlds()
def test_drops_failures_and_dead_letters_leave_the_journal(
    launch: Launcher, world: World, job: Path
) -> None:
    pipelines = {"crawled.kept.DropsAndFails": 300, "crawled.kept.Poison": 400}
    settings = journaled(job, MPWORKERS_PIPELINES=pipelines)
    ended = launch.crawl("pages", world, **settings).finish()

    assert ended.numbers == [4, 5, 6]
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert hops_in(job) == []


@worlds(plain=False)
def test_item_whose_hop_is_no_longer_listed_stays_in_the_journal(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 3, journaled(job))
    other = journaled(job, **offload("Mark"))

    ended = launch.crawl("start", world, "items=0", **other).finish()
    assert ended.items == []
    assert (
        len(re.findall(r"ERROR: .*crawled\.pipelines\.Gate.*MPWORKERS_PIPELINES", ended.log)) == 3
    )
    assert len(hops_in(job)) == 3
    last = launch.crawl("start", world, "items=0", **journaled(job)).finish()

    assert last.numbers == [1, 2, 3]


@worlds(plain=False)
def test_entries_stay_where_the_spider_middleware_is_missing(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 3, journaled(job))
    middleware = {"scrapy_mpworkers.spidermiddlewares.WorkerSpiderMiddleware": None}
    settings = journaled(job, SPIDER_MIDDLEWARES=middleware)

    ended = launch.crawl("start", world, "items=0", **settings).finish()

    assert "3 items of an earlier run stay in the journal" in ended.log
    assert len(hops_in(job)) == 3


@worlds(plain=False)
def test_item_class_of_a_script_is_the_scripts_own_when_it_runs_again(
    launch: Launcher, world: World, job: Path
) -> None:
    settings = {"JOBDIR": str(job), "MPWORKERS_JOURNAL": True}
    first = launch.script("resuming.py", world=world, held=True, **settings)
    first.wait_told("busy")
    wait_for_entries(job, 2, "__main__.Gate")
    first.kill_main()
    first.finish(grace=5)

    ended = launch.script("resuming.py", "again", world=world, **settings).finish()

    assert ended.numbers == [1, 2]
    assert ended.told("checked") == [1, 1]


@worlds()
def test_full_disk_is_one_error_and_the_crawl_goes_on(
    launch: Launcher, world: World, job: Path
) -> None:
    settings = journaled(job, **offload("crawled.kept.Shortens"))
    ended = launch.crawl("bulky", world, "items=20", **settings).finish()

    assert ended.numbers == list(range(1, 21))
    assert len(re.findall(r"ERROR: The journal .* has failed", ended.log)) == 1
    assert ended.exit_code == 0


@worlds()
def test_broken_rows_are_told_and_stay_and_all_others_are_resumed(
    launch: Launcher, world: World, job: Path
) -> None:
    killed(launch, world, 4, journaled(job))
    with contextlib.closing(sqlite3.connect(job / "mpworkers-journal.sqlite")) as database:
        database.execute("UPDATE entry SET hop = '[\"crawled' WHERE id = 2")
        database.execute("UPDATE entry SET definitions = '{\"0\": 77}' WHERE id = 3")
        database.execute("UPDATE entry SET frame = x'80059500' WHERE id = 4")
        database.commit()

    ended = launch.crawl("start", world, "items=0", **journaled(job)).finish()

    assert len(ended.numbers) == 1
    assert re.findall(r"ERROR: The entry (\d+) of the journal \S+ is broken", ended.log) == [
        "2",
        "3",
    ]
    assert "An item that was kept cannot go on: its frame cannot be loaded" in ended.log
    assert ended.exit_code == 0
    assert len(hops_in(job)) == 3


@worlds()
def test_second_crawl_with_the_jobdir_of_a_running_one_is_refused_by_name(
    launch: Launcher, world: World, job: Path
) -> None:
    first = launch.crawl("start", world, "items=3", held=True, **journaled(job))
    first.wait_told("busy")

    second = launch.crawl("start", world, "items=3", **journaled(job)).finish()
    first.open_gate()
    ended = first.finish()

    [sentence] = re.findall(r"The crawl cannot start: (.*)", second.log)[-1:]
    assert f"(pid {first.pid} on " in sentence
    assert f"the journal in JOBDIR '{job}'" in sentence
    assert second.exit_code == 1
    assert not second.told("requested")
    assert ended.numbers == [1, 2, 3]
    assert [file.name for file in job.glob("mpworkers*")] == ["mpworkers-journal.sqlite"]


# Refused


def test_journal_without_a_jobdir_is_refused_in_one_sentence(launch: Launcher) -> None:
    ended = launch.crawl("pages", HERE, MPWORKERS_JOURNAL=True, **offload("Mark")).finish()

    assert ended.exit_code == 1
    [sentence] = re.findall(r"The crawl cannot start: (.*)", ended.log)
    assert sentence.startswith("MPWORKERS_JOURNAL is True, but JOBDIR is not set: set JOBDIR")
    assert not ended.told("requested")


def assert_stops_at_start(launch: Launcher, job: Path, reason: str) -> None:
    ended = launch.crawl("pages", HERE, **journaled(job)).finish()

    assert ended.exit_code == 1
    [sentence] = re.findall(r"The crawl cannot start: (.*)", ended.log)[-1:]
    assert "mpworkers-journal.sqlite" in sentence
    assert reason in sentence
    assert not ended.told("requested")


@pytest.mark.full
def test_journal_of_an_unknown_version_is_refused(launch: Launcher, job: Path) -> None:
    job.mkdir()
    with contextlib.closing(sqlite3.connect(job / "mpworkers-journal.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")

    assert_stops_at_start(launch, job, "version 99")


def test_file_that_is_no_journal_is_refused(launch: Launcher, job: Path) -> None:
    job.mkdir()
    (job / "mpworkers-journal.sqlite").write_bytes(b"no database " * 100)

    assert_stops_at_start(launch, job, "not a database")


@pytest.mark.parametrize(
    "name", plain_first(["mpworkers-journal.sqlite", "mpworkers-journal.sqlite-wal"])
)
def test_journal_that_others_can_write_is_refused(launch: Launcher, job: Path, name: str) -> None:
    job.mkdir()
    (job / name).touch()
    (job / name).chmod(0o666)

    assert_stops_at_start(launch, job, "can be written by other users")


@pytest.mark.full
def test_journal_of_another_user_is_refused(launch: Launcher, job: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    job.mkdir()
    (job / "mpworkers-journal.sqlite").touch(0o600)
    os.chown(job / "mpworkers-journal.sqlite", 12345, -1)

    assert_stops_at_start(launch, job, "belongs to another user")
