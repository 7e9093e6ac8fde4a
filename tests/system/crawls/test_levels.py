"""Levels that the crawl does not wait for, keys across a death, and breakage inside a batch."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import path, worlds
from .test_journal import hops_in, wait_for_entries

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Ended, Launcher, Site, World


def level(pipeline: str, **options: Any) -> dict[str, Any]:
    """The setting of one level, called store."""
    pipelines = {f"crawled.levels.{pipeline}": 900}
    return {"MPWORKERS_LEVELS": [{"name": "store", "pipelines": pipelines, **options}]}


def store(pipeline: str = "Stores", **options: Any) -> dict[str, Any]:
    """One that stores in batches, and that the crawl does not wait for."""
    batches = {"workers": 1, "batch_size": 10, "batch_seconds": 0.1, "wait": False}
    return level(pipeline, **batches | options)


# Not waited for


@worlds()
def test_pages_and_items_go_on_while_nothing_has_been_stored(
    launch: Launcher, site: Site, world: World
) -> None:
    world.needs_http()
    urls = " ".join(site.url(f"{n}") for n in range(30))
    crawl = launch.crawl("pages", world, f"urls={urls}", held=True, **store())

    crawl.wait_told("scraped", 180)
    requested = len(site.requests)
    crawl.open_gate()
    ended = crawl.finish()

    assert requested == 30
    assert words(ended, "scraped", "stored") == 180 * ["scraped"] + 180 * ["stored"]
    assert ended.stats["item_scraped_count"] == 180
    assert ended.stats["mpworkers/store/items/done"] == 180
    assert not any("stored" in item for item in ended.items)


def words(ended: Ended, *wanted: str) -> list[str]:
    """What was told, in order."""
    return re.findall(rf"@({'|'.join(wanted)}) ", ended.log)


@pytest.mark.parametrize("spider", plain_first(["pages", "start"]))
@worlds()
def test_never_more_than_may_be_pending_are_not_stored(
    launch: Launcher, world: World, spider: str
) -> None:
    settings = store(max_pending=25)
    crawl = launch.crawl(spider, world, "items=200", held=True, **settings)

    crawl.wait_told("scraped", 25)
    crawl.open_gate()
    ended = crawl.finish()

    ahead = [0]
    for word in words(ended, "scraped", "stored"):
        ahead.append(ahead[-1] + (1 if word == "scraped" else -1))
    assert max(ahead) == 25
    assert ahead[-1] == 0
    assert ended.told("stored") == list(range(1, 201))
    assert ended.numbers == list(range(1, 201))


@pytest.mark.parametrize("where", ["start", pytest.param("parse", marks=pytest.mark.full)])
@worlds(plain=False)
def test_memory_is_bounded_however_slow_the_store(
    launch: Launcher, world: World, where: str
) -> None:
    pipelines = {path("Slowly"): 900}
    slow = {"name": "store", "pipelines": pipelines, "wait": False, "workers": 1}
    settings = {"MPWORKERS_LEVELS": [slow | {"max_pending_bytes": 16 << 20}], "FEEDS": {}}

    ended = launch.crawl("flood", world, f"where={where}", **settings).finish()

    [grown] = ended.told("grown")
    assert grown < 100  # MiB, of the 191 that were yielded
    assert ended.stats["mpworkers/store/items/done"] == 2_000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="idle"),
        pytest.param(("stop=had_enough",), id="CloseSpider", marks=pytest.mark.full),
    ],
)
@worlds()
def test_close_waits_until_all_is_stored(
    launch: Launcher, world: World, arguments: tuple[str, ...]
) -> None:
    crawl = launch.crawl("pages", world, "items=40", *arguments, held=True, **store())
    crawl.wait_told("scraped", 40)
    crawl.wait_for(r"Closing spider \((finished|had_enough)\)")

    crawl.open_gate()

    assert_all_stored(crawl.finish())


@worlds()
def test_ctrl_c_waits_until_all_is_stored(launch: Launcher, site: Site, world: World) -> None:
    world.needs_http()
    urls = f"urls={site.url('page')} {site.url('held/page')}"
    crawl = launch.crawl("pages", world, urls, "items=40", held=True, **store())
    crawl.wait_told("scraped", 40)

    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT, shutting down gracefully")
    site.release()
    crawl.wait_told("scraped", 80)
    crawl.open_gate()

    assert_all_stored(crawl.finish(), 80)


@worlds(plain=False)
def test_ctrl_c_waits_for_a_close_that_has_begun(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, "items=40", held=True, **store())
    crawl.wait_for(r"Closing spider \(finished\)")

    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT, shutting down gracefully")
    crawl.open_gate()

    assert_all_stored(crawl.finish())


@worlds(plain=False)
def test_store_that_hangs_is_given_up_and_its_items_are_kept(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    dead = tmp_path / "dead.jsonl"
    settings = store() | {"MPWORKERS_DEAD_LETTERS": str(dead), "MPWORKERS_CLOSE_TIMEOUT": 1}
    ended = launch.crawl("pages", world, "items=40", held=True, **settings).finish()

    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert sorted(letter["item"]["n"] for letter in letters) == list(range(1, 41))
    assert {letter["reason"] for letter in letters} == {"CloseTimeout"}
    assert ended.stats["mpworkers/store/items/dead_lettered"] == 40
    assert ended.numbers == list(range(1, 41))
    assert ended.exit_code == 0


def assert_all_stored(ended: Ended, count: int = 40) -> None:
    assert ended.told("stored") == list(range(1, count + 1))
    assert ended.numbers == list(range(1, count + 1))
    assert ended.stats["mpworkers/store/items/done"] == count
    assert ended.exit_code == 0


@worlds()
def test_what_was_not_stored_outlives_a_kill_and_is_not_scraped_again(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    settings = store() | {"JOBDIR": str(job), "MPWORKERS_JOURNAL": True}
    crawl = launch.crawl("start", world, "items=30", held=True, **settings)
    crawl.wait_told("scraped", 30)
    wait_for_entries(job, 30, "crawled.levels.Stores")
    crawl.kill_main()
    killed = crawl.finish(grace=5)

    ended = launch.crawl("start", world, "items=0", **settings).finish()

    assert killed.told("stored") == []
    assert ended.told("stored") == list(range(1, 31))
    assert ended.told("scraped") == ended.items == []
    assert ended.stats["mpworkers/store/items/done"] == 30
    assert hops_in(job) == []


@worlds()
def test_what_fails_there_is_in_stats_log_and_dead_letters(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    dead = tmp_path / "dead.jsonl"
    settings = store("Fails") | {"MPWORKERS_DEAD_LETTERS": str(dead)}
    ended = launch.crawl("pages", world, **settings).finish()

    [letter] = [json.loads(line) for line in dead.read_text().splitlines()]
    assert (letter["item"], letter["reason"]) == ({"n": 3}, "WorkerDied")
    assert letter["hop"] == ["crawled.levels.Fails"]
    counts = {"submitted": 6, "done": 3, "dropped": 1, "failed": 1, "dead_lettered": 1}
    assert {name: ended.stats[f"mpworkers/store/items/{name}"] for name in counts} == counts
    assert re.search(r"WARNING: Dropped at the level store, .*: nobody wants it", ended.log)
    assert re.search(r"ERROR: Failed at the level store, .*: no luck", ended.log)
    assert ended.told("failed") == ended.told("dropped") == []
    assert ended.stats["item_scraped_count"] == 6


# Inside a batch


@pytest.mark.parametrize("wait", plain_first([True, False]))
@worlds()
def test_item_that_kills_its_workers_costs_its_batch_nothing(
    launch: Launcher, world: World, wait: bool
) -> None:
    settings = store("DiesOfSeven", wait=wait)
    ended = launch.crawl("pages", world, "items=25", **settings).finish()

    assert_only_seven_is_lost(ended)
    assert ended.stats["mpworkers/workers/deaths/SIGKILL"] == 4  # its batch, then thrice alone
    if wait:
        [(number, error, _)] = ended.told("failed")
        assert (number, error) == (7, "WorkerDied")


@pytest.mark.parametrize("wait", plain_first([True, False]))
@worlds(plain=False)
def test_item_over_its_time_costs_its_batch_nothing(
    launch: Launcher, world: World, wait: bool
) -> None:
    settings = store("StuckAtSeven", wait=wait, item_timeout=1.0)
    ended = launch.crawl("pages", world, "items=25", **settings).finish()

    assert_only_seven_is_lost(ended)
    if wait:
        [(number, error, _)] = ended.told("failed")
        assert (number, error) == (7, "ItemTimeout")


@worlds()
def test_items_of_a_batch_that_failed_have_their_time_each(launch: Launcher, world: World) -> None:
    settings = store("StoresOneByOne", batch_size=2, item_timeout=1.5)
    ended = launch.crawl("pages", world, "items=2", **settings).finish()

    assert sorted(ended.told("stored")) == [1, 2]  # each once
    assert ended.stats["mpworkers/workers/deaths"] == 0
    assert "A batch of 2 items raised ValueError" in ended.log


def assert_only_seven_is_lost(ended: Ended) -> None:
    others = [n for n in range(1, 26) if n != 7]
    assert sorted(set(ended.told("stored"))) == others
    assert ended.stats["mpworkers/store/items/done"] == 24
    assert ended.stats["mpworkers/store/items/dead_lettered"] == 1
    assert ended.exit_code == 0


# Keys


KEYED = {"workers": 2, "key": "crawled.levels.parity"}


@worlds(plain=False)
def test_items_of_a_key_wait_for_the_one_whose_worker_died(launch: Launcher, world: World) -> None:
    settings = level("TellsInTurn", **KEYED)
    crawl = launch.crawl("pages", world, "items=40", held=True, **settings)
    pid = dict(crawl.wait_told("busy", 2))

    os.kill(pid[1], signal.SIGKILL)
    crawl.wait_for(rf"@busy \[1, (?!{pid[1]}\b)")
    crawl.open_gate()
    ended = crawl.finish()

    assert_in_turn(ended, range(1, 41))
    assert ended.stats["mpworkers/items/done"] == 40
    assert ended.stats["mpworkers/workers/deaths"] == 1


@worlds(plain=False)
def test_items_of_a_key_go_on_behind_one_that_was_given_up(launch: Launcher, world: World) -> None:
    settings = level("DiesInTurn", **KEYED)
    ended = launch.crawl("pages", world, "items=40", **settings).finish()

    assert_in_turn(ended, [n for n in range(1, 41) if n != 7])
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert ended.stats["mpworkers/workers/deaths/SIGKILL"] == 3


def assert_in_turn(ended: Ended, numbers: Any) -> None:
    for rest in (0, 1):
        processed = [n for n in ended.told("processed") if n % 2 == rest]
        # One whose report died with its worker is processed again.
        assert processed == sorted(processed)
        assert {*processed} == {n for n in numbers if n % 2 == rest}


# What would end Scrapy's process


@worlds()
def test_code_of_an_item_that_would_end_the_process_ends_that_item(
    launch: Launcher, world: World
) -> None:
    one = {"name": "one", "pipelines": {"crawled.enders.Does": 300}, "key": "crawled.enders.key"}
    settings = {"MPWORKERS_LEVELS": [one | {"workers": 2}]}
    ended = launch.crawl("enders", world, **settings).finish()

    failed = {n: (kind, text) for n, kind, text in ended.told("failed")}
    names = ("SystemExit: 3", "KeyboardInterrupt: 3", "GeneratorExit: 3", "CancelledError", "Quits")
    for n, name in enumerate(names, start=1):
        kind, text = failed[n]
        assert kind == "KeyMissingError"
        assert text.startswith(f"the item has no key: crawled.enders.key raised {name}")
    assert failed[6] == ("ValueError", "3")
    for n, text in {7: "SystemExit: loaded", 8: "SystemExit: loaded"}.items():
        assert failed[n][0] == "UnreadableError"
        assert text in failed[n][1]
    assert failed[9] == ("RemoteError", "crawled.enders.EndsWhenRebuilt: no luck")
    assert failed[10][0] in ("EndsWhenRead", "RemoteError")
    assert failed[11][0] == failed[12][0] == "UnpicklableError"
    assert "SystemExit: no look" in failed[11][1]
    assert "Unspeakable: <its __str__ raised SystemExit>" in failed[12][1]
    assert ended.told("scraped") == [13]
    assert ended.exit_code == 0
    assert ended.stats["mpworkers/items/failed"] == 12
