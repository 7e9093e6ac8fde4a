"""Crawls with everything in them that can break a worker: each costs itself and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pool.harness import quick

from system.crawls.harness import MODES, Launcher, World, offload, rotated, worlds

CRASHES = ("segfault", "exit_0", "exit_3", "sigkill")
ENDS = {"segfault": "SIGSEGV", "exit_0": "code 0", "exit_3": "code 3", "sigkill": "SIGKILL"}
GOOD = 25


def expected(phase: str, way: str) -> str | None:
    """The error with which a bomb's item ends; ``None``: it gets through."""
    if phase == "destructor":
        return None
    if way in CRASHES:
        return "WorkerDied"
    if phase in ("submit", "result"):
        return "UnpicklableError"
    if phase == "outcome":
        return "UnreadableError"
    return "ValueError" if way == "error" else "RemoteError"


@worlds()
def test_bombs_of_every_kind_cost_their_own_items_and_no_other(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl(
        "bombs",
        world,
        f"good={GOOD}",
        **offload("crawled.bombs.Explodes"),
        SPIDER_MODULES=["crawled.bombs"],
        MPWORKERS_REDELIVER_TIMES=0,
    ).finish()

    bombs = {n: (phase, way) for n, phase, way in ended.told("bomb")}
    failed = {n: (error, text) for n, error, text in ended.told("failed")}
    assert {n: failed.get(n, (None,))[0] for n in bombs} == {
        n: expected(*bomb) for n, bomb in bombs.items()
    }
    for n, (_, way) in bombs.items():
        if n in failed and failed[n][0] == "WorkerDied":
            assert ENDS[way] in failed[n][1]
    assert ended.numbers == sorted(set(range(1, len(bombs) + GOOD + 1)) - set(failed))
    crashes = [bomb for bomb in bombs.values() if bomb[1] in CRASHES]
    # The four destructors may go off in one worker at once, each in its own, or at its exit.
    assert 12 <= ended.stats["mpworkers/workers/deaths"] <= len(crashes)
    assert ended.stats["mpworkers/items/dead_lettered"] == 3 * len(CRASHES)
    assert ended.stats["mpworkers/items/submitted"] == len(bombs) + GOOD
    assert ended.exit_code == 0


@pytest.mark.full
@quick("fork", "forkserver", "spawn")  # each 14 crawls
def test_pipelines_that_break_while_opened_or_closed(launch: Launcher, method: str) -> None:
    world = World("asyncio", method)
    ended = launch.script("lifecycles.py", world=world, FEEDS={}).finish()

    crawls = [json.loads(line) for line in ended.out.splitlines()]
    assert len(crawls) == 14
    for phase, way, outcome in crawls:
        (expect_open if phase == "Open" else expect_close)(way, outcome)


def expect_open(way: str, outcome: dict[str, Any]) -> None:
    """The crawl stops before its first request, and says why."""
    if way in CRASHES:
        assert outcome["error"].startswith("WorkerStartError"), (way, outcome)
        assert ENDS[way] in outcome["error"]
    else:
        assert outcome["error"].startswith("ValueError" if way == "error" else "RemoteError")
    assert "mpworkers/items/submitted" not in outcome["stats"] or (
        outcome["stats"]["mpworkers/items/submitted"] == 0
    )


def expect_close(way: str, outcome: dict[str, Any]) -> None:
    """All items are done; the death is counted, and told as an error."""
    assert outcome["error"] is None, (way, outcome)
    assert outcome["stats"]["mpworkers/items/done"] == 6
    assert outcome["stats"]["mpworkers/workers/deaths"] == (way in CRASHES), (way, outcome)
    assert outcome["stats"]["log_count/ERROR"] >= 1


@pytest.mark.full
@rotated("kind", ["item", "result"], start=6)
def test_100_that_cannot_be_pickled_cost_nothing_of_the_100_behind_them(
    launch: Launcher, kind: str, world: World
) -> None:
    pipeline = "Mark" if kind == "item" else "ReturnsLambdas"
    ended = launch.crawl("lambdas", world, f"kind={kind}", **offload(pipeline)).finish()

    assert {error for _, error, _ in ended.told("failed")} == {"UnpicklableError"}
    assert ended.numbers == list(range(101, 201))
    assert ended.stats["mpworkers/items/failed"] == 100
    assert ended.stats["mpworkers/items/done"] == 100
    assert ended.stats["mpworkers/workers/deaths"] == 0


# Time


@worlds(plain=False)
def test_item_over_its_time_is_given_up_and_the_crawl_goes_on(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl(
        "pages", world, "items=12", **offload("Stuck7"), MPWORKERS_ITEM_TIMEOUT=1
    ).finish()

    [(number, error, text)] = ended.told("failed")
    assert (number, error) == (7, "ItemTimeout")
    assert "MPWORKERS_ITEM_TIMEOUT" in text
    assert ended.numbers == [n for n in range(1, 13) if n != 7]
    assert ended.stats["mpworkers/items/dead_lettered"] == 1


@worlds()
def test_close_waits_as_long_as_something_moves(launch: Launcher, world: World) -> None:
    # Twelve items of 0.3 s each on two workers: longer than the deadline, but never without
    # progress for so long.
    ended = launch.crawl(
        "pages", world, "items=12", "stop=enough", **offload("Slow"), MPWORKERS_CLOSE_TIMEOUT=1
    ).finish()

    assert ended.numbers == list(range(1, 13))
    assert ended.stats["mpworkers/items/dead_lettered"] == 0


@worlds()
def test_close_gives_up_what_does_not_move_and_lists_it(launch: Launcher, world: World) -> None:
    ended = launch.crawl(
        "pages", world, "items=6", "stop=enough", **offload("Stuck"), MPWORKERS_CLOSE_TIMEOUT=1.5
    ).finish()

    failed = ended.told("failed")
    assert sorted(n for n, _, _ in failed) == [1, 2, 3, 4, 5, 6]
    assert {error for _, error, _ in failed} == {"CloseTimeout"}
    said = " ".join(text for _, _, text in failed)
    assert all(where in said for where in ("at worker-1", "at worker-2", "waiting for a worker"))
    held = r"WARNING: The item \d has been at worker-[12] for \d+ s and is given up"
    assert len(re.findall(held, ended.log)) >= 2
    assert ended.stats["mpworkers/items/dead_lettered"] == 6
    assert "Spider closed (enough)" in ended.log
    assert ended.exit_code == 0


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_close_gives_up_what_does_not_move_in_one_process(launch: Launcher, mode: str) -> None:
    ended = launch.crawl(
        "pages",
        World(mode, "spawn"),
        "items=6",
        "stop=enough",
        **offload("AwaitsDeadDeferred"),
        MPWORKERS_WORKERS=0,
        MPWORKERS_CLOSE_TIMEOUT=1.5,
    ).finish()

    assert ended.numbers == [1, 2]
    assert {n: error for n, error, _ in ended.told("failed")} == dict.fromkeys(
        range(3, 7), "CloseTimeout"
    )
    assert [text for n, _, text in ended.told("failed") if n == 3 and "at this process" in text]


@pytest.mark.full
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_item_that_comes_after_the_rest_was_given_up_is_given_up_too(
    launch: Launcher, mode: str, workers: int
) -> None:
    ended = launch.crawl(
        "pages",
        World(mode, "forkserver"),
        "items=6",
        "stop=enough",
        **offload("HoldsThird"),
        ITEM_PIPELINES={"crawled.bystanders.LetsOneBeLate": 100},
        MPWORKERS_WORKERS=workers,
        MPWORKERS_CLOSE_TIMEOUT=1.5,
    ).finish()

    failed = {n: (error, text) for n, error, text in ended.told("failed")}
    assert {error for error, _ in failed.values()} == {"CloseTimeout"}
    assert "still waiting" in failed[1][1]
    assert ended.exit_code == 0


# A broken pool


@worlds()
def test_broken_pool_fails_what_waits_and_closes_the_spider(launch: Launcher, world: World) -> None:
    ended = launch.crawl(
        "pages",
        world,
        "items=8",
        **offload("DiesOnceOpenedTwice"),
        MPWORKERS_WORKERS=1,
        MPWORKERS_RESTART_INTENSITY=2,
    ).finish()

    assert "Spider closed (mpworkers_broken)" in ended.log
    failed = ended.told("failed")
    assert {error for _, error, _ in failed} == {"PoolBroken"}
    assert len(failed) == ended.stats["mpworkers/items/dead_lettered"] == 8
    # Two of the same item, which count once they are not alone, and three of opening.
    assert "5 workers died within 30 s" in failed[0][2]
    assert ended.exit_code == 1
    assert ended.seconds_since("failed") < 5.0


# Buffers


@worlds(plain=False)
def test_pipeline_that_holds_items_until_close_is_named_once_at_start(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("pages", world, **offload("Collects")).finish()

    [warning] = [line for line in ended.log.splitlines() if "self.rows" in line]
    assert "WARNING" in warning
    assert "crawled.pipelines.Collects" in warning
    assert ended.log.index(warning) < ended.log.index("@yielded")


@worlds(plain=False)
def test_recycled_worker_closes_its_pipelines_before_it_goes(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl(
        "pages", world, "items=60", **offload("Collects"), MPWORKERS_WORKER_MAX_ITEMS=10
    ).finish()

    collected = [rows if isinstance(rows, list) else [rows] for rows in ended.told("collected")]
    assert sorted(n for rows in collected for n in rows) == list(range(1, 61))
    # Until its relief is ready a worker goes on, and one that booted late may not reach ten items.
    assert ended.stats["mpworkers/workers/recycled/items"] >= 1
    assert ended.numbers == list(range(1, 61))
    assert ended.stats["mpworkers/workers/deaths"] == 0


# Floods


@rotated("where", ["start", "callback"], start=3)
def test_flood_of_items_stays_within_its_bounds(launch: Launcher, where: str, world: World) -> None:
    # 100 kB each, made as fast as Python can, processed at 2 ms each: 2,000 of them are 200 MB.
    ended = launch.crawl(
        "flood",
        world,
        f"where={where}",
        **offload("Slowly"),
        FEEDS={},
        MPWORKERS_MAX_PENDING_BYTES=2_000_000,
    ).finish()

    [grown] = ended.told("grown")
    assert grown < 60  # MiB, the items of all their copies included
    assert ended.stats["mpworkers/items/done"] == 2_000
