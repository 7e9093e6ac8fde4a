"""Functions in workers: from callbacks, middlewares and pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .harness import World, offload, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher

ALONE: dict[str, Any] = {"MPWORKERS_WORKERS": 2}


def calling(launch: Launcher, world: World, does: str, **settings: Any) -> Ended:
    return launch.crawl("calling", world, f"does={does}", **(ALONE | settings)).finish()


@worlds()
def test_any_function_runs_in_a_worker(launch: Launcher, world: World) -> None:
    ended = calling(launch, world, "kinds")

    assert ended.told("function") == [9]
    assert ended.told("lambda") == [4]
    assert ended.told("closure") == [42]
    assert ended.told("bound") == [16]
    assert ended.told("of_the_spider") == ["calling <a page>"]
    assert ended.told("coroutine") == [16]
    assert ended.told("same_response") == [True]
    assert ended.told("where") != ended.told("parent")
    assert ended.told("not_raised") == []
    [(name, text)] = ended.told("refused")
    assert name == "UnpicklableError"
    assert "the call of square cannot be sent to another process: its argument 1" in text
    assert ended.stats["mpworkers/calls/submitted"] == 10
    assert ended.stats["mpworkers/calls/done"] == 8
    assert ended.stats["mpworkers/calls/failed"] == 2
    assert ended.stats["mpworkers/items/submitted"] == 0
    assert ended.items == [{"n": 1}]
    assert ended.exit_code == 0


@worlds()
def test_calls_share_the_workers_of_the_pipelines(launch: Launcher, world: World) -> None:
    ended = calling(launch, world, "kinds", **offload("Mark"))

    [item] = ended.items
    assert ended.stats["mpworkers/workers/started"] <= 2
    assert ended.stats["mpworkers/items/done"] == 1
    assert ended.stats["mpworkers/calls/done"] == 8
    assert item["pid"] != ended.told("parent")[0]


@worlds(plain=False)
def test_calls_have_workers_of_their_own_beside_levels_that_cannot_take_them(
    launch: Launcher, world: World
) -> None:
    level = {"name": "keyed", "pipelines": {"crawled.pipelines.Mark": 1}, "key": "n"}

    ended = calling(launch, world, "kinds", MPWORKERS_LEVELS=[level])

    assert ended.stats["mpworkers/keyed/items/done"] == 1
    assert ended.stats["mpworkers/keyed/workers/started"] == 2
    assert ended.stats["mpworkers/calls/calls/done"] == 8


@worlds(plain=False)
def test_middlewares_and_pipelines_call_too(launch: Launcher, world: World) -> None:
    ended = calling(
        launch,
        world,
        "kinds",
        SPIDER_MIDDLEWARES={"crawled.calling.CallsInMiddleware": 500},
        ITEM_PIPELINES={"crawled.calling.CallsInPipeline": 300},
    )

    [item] = ended.items
    assert item["middleware"] != ended.told("parent")[0]
    assert item["pipeline"] != ended.told("parent")[0]


@pytest.mark.parametrize(
    "off", [{"MPWORKERS_WORKERS": 0}, {"MPWORKERS_ENABLED": False}], ids=["no_workers", "disabled"]
)
@worlds()
def test_without_workers_calls_run_in_scrapys_process(
    launch: Launcher, world: World, off: dict[str, Any]
) -> None:
    ended = calling(launch, world, "kinds", **off)

    assert ended.told("bound") == [16]
    if world.mode == "default":
        # What awaits asyncio needs a loop of asyncio, which Scrapy's process has not got here.
        assert "RuntimeError: no running event loop" in ended.log
    else:
        assert ended.told("coroutine") == [16]
        assert ended.told("where") == ended.told("parent")


@worlds()
def test_a_call_that_takes_too_long_ends_and_the_next_one_runs(
    launch: Launcher, world: World
) -> None:
    ended = calling(launch, world, "timeout")

    [(name, text)] = ended.told("late")
    assert name == "CallTimeout"
    assert "sleep took longer than 0.2 s in worker-" in text
    assert ended.told("after") == [25]
    assert ended.stats["mpworkers/calls/dead_lettered"] == 1


@worlds()
def test_the_workers_tell_where_they_are(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("calling", world, "does=stacks", held=True, **ALONE)
    [stacks] = crawl.wait_told("stacks")
    crawl.open_gate()
    ended = crawl.finish()

    assert sorted(stacks) == ["worker-1", "worker-2"]
    assert sum("calling.py" in text and "in hold" in text for text in stacks.values()) == 1
    assert ended.stats["mpworkers/calls/done"] == 1


@worlds()
def test_map_gives_results_in_order_and_ends_with_the_first_error(
    launch: Launcher, world: World
) -> None:
    ended = calling(launch, world, "mapped")

    [squares] = ended.told("squares")
    assert squares == [n * n for n in range(50)]
    assert ended.told("mapped_until") == [[6, "seven"]]
    assert ended.exit_code == 0


@pytest.mark.parametrize("calls", [500, pytest.param(10_000, marks=pytest.mark.full)])
@worlds()
def test_calls_whose_worker_dies_run_again(launch: Launcher, world: World, calls: int) -> None:
    arguments = "does=killed", f"calls={calls}"
    ended = launch.crawl("calling", world, *arguments, **ALONE).finish()

    assert ended.told("results") == [True]
    assert ended.stats["mpworkers/calls/submitted"] == calls
    assert ended.stats["mpworkers/calls/done"] == calls
    assert ended.stats["mpworkers/workers/deaths"] == 10


@pytest.mark.parametrize("does", ["nothing", "kinds"])
@worlds(plain=False)
def test_no_worker_starts_behind_the_end_and_a_close_from_within_does_not_wait_for_itself(
    launch: Launcher, world: World, does: str
) -> None:
    closing = {"EXTENSIONS": {"crawled.calling.CallsWhenClosed": 500}}
    ended = calling(launch, world, does, **closing, **offload("Mark"))

    assert ended.told("too_late") == ["PoolClosed"]
    assert ended.told("stopped") == [[]]
    assert ended.stats["item_scraped_count"] == 1
    assert ended.exit_code == 0


@worlds(plain=False)
def test_without_any_worker_a_late_call_starts_none(launch: Launcher, world: World) -> None:
    closing = {"EXTENSIONS": {"crawled.calling.CallsWhenClosed": 500}}
    ended = calling(launch, world, "nothing", **closing)

    assert ended.told("too_late") == ["PoolClosed"]
    assert "Starting 2 workers" not in ended.log


@worlds()
def test_a_timeout_or_a_limit_that_cannot_work_is_refused(launch: Launcher, world: World) -> None:
    ended = calling(launch, world, "wrong")

    assert ended.told("wrong") == [
        "timeout is 0, but it must be above 0, or None",
        "limit is -1, but it must be at least 1, or None",
    ]


@worlds()
def test_a_cancelled_call_frees_its_place(launch: Launcher, world: World) -> None:
    crawl = launch.crawl(
        "calling",
        world,
        "does=cancelled",
        held=True,
        MPWORKERS_WORKERS=2,
        MPWORKERS_MAX_PENDING=1,
    )
    crawl.wait_told("busy", 2)  # the second came in, though the first is at its worker still
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.told("cancelled") == [[]]
    assert ended.told("second") == [2]
    assert ended.stats["mpworkers/calls/submitted"] == 2
