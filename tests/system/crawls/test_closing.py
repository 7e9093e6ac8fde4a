"""However a crawl is closed, it finishes what was yielded, and in time."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import scrapy
from plain import plain_first

from .harness import inline, offload, rotated, worlds

if TYPE_CHECKING:
    from .harness import Crawl, Ended, Launcher, Site, World


@worlds()
def test_first_ctrl_c_finishes_what_was_yielded(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, "items=20", held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT, shutting down gracefully")
    crawl.open_gate()
    ended = crawl.finish()

    assert_everything_finished(ended)
    assert "Spider closed (shutdown)" in ended.log


@worlds(plain=False)
def test_sigterm_to_the_group_is_like_the_first_ctrl_c(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, "items=20", held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    crawl.signal_group(signal.SIGTERM)
    crawl.wait_for("Received SIGTERM, shutting down gracefully")
    crawl.open_gate()

    assert_everything_finished(crawl.finish())


@worlds(plain=False)
def test_sigterm_to_each_process_is_like_the_first_ctrl_c(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, "items=20", held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    crawl.signal_each(signal.SIGTERM)
    crawl.wait_for("Received SIGTERM, shutting down gracefully")
    crawl.open_gate()

    assert_everything_finished(crawl.finish())


@worlds()
def test_close_spider_in_a_callback_finishes_what_was_yielded(
    launch: Launcher, world: World
) -> None:
    arguments = ("items=20", "stop=had_enough")
    crawl = launch.crawl("pages", world, *arguments, held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)
    crawl.wait_for(r"Closing spider \(had_enough\)")

    crawl.open_gate()
    ended = crawl.finish()

    assert_everything_finished(ended)
    assert "Spider closed (had_enough)" in ended.log


@worlds()
def test_handlers_in_workers_hear_why_the_spider_closes(launch: Launcher, world: World) -> None:
    arguments = ("items=20", "stop=had_enough")
    crawl = launch.crawl("reasoned", world, *arguments, held=True, **offload("HearsWhy"))
    crawl.wait_for(r"Closing spider \(had_enough\)")

    crawl.open_gate()

    assert set(crawl.finish().told("why")) == {"had_enough"}


@worlds()
def test_handlers_without_worker_processes_hear_why_the_spider_closes(
    launch: Launcher, world: World
) -> None:
    settings = offload("HearsWhy") | {"MPWORKERS_WORKERS": 0}
    ended = launch.crawl("pages", world, "items=20", "stop=had_enough", **settings).finish()

    assert ended.told("why") == ["had_enough"]


def assert_everything_finished(ended: Ended) -> None:
    assert ended.exit_code == 0
    assert ended.numbers == sorted(ended.told("yielded"))
    assert ended.stats["mpworkers/items/done"] == len(ended.items)
    assert ended.stats["mpworkers/items/redelivered"] == 0
    assert ended.stats["mpworkers/workers/deaths"] == 0
    assert set(ended.told("closed")) == set(ended.told("opened"))
    assert "Traceback" not in ended.log


@worlds()
def test_second_ctrl_c_ends_at_once_and_silently(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    assert_second_ctrl_c_ends(crawl)


@pytest.mark.skipif(sys.platform != "linux", reason="the pipeline uses Linux' C library")
@worlds()
def test_second_ctrl_c_ends_workers_stuck_in_c_code(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, **offload("Stuck"))
    crawl.wait_told("busy", 2)

    assert_second_ctrl_c_ends(crawl)


def assert_second_ctrl_c_ends(crawl: Crawl) -> None:
    crawl.signal_group(signal.SIGINT)
    crawl.wait_for("Received SIGINT, shutting down gracefully")
    crawl.signal_group(signal.SIGINT)
    pressed = time.monotonic()
    ended = crawl.finish()

    assert time.monotonic() - pressed < 2.0
    assert ended.exit_code == 0
    assert "Traceback" not in ended.log


# Items of start(), which Scrapy's own close does not wait for rightly


@rotated("close", ["idle", "CloseSpider", "SIGINT"], start=0)
def test_close_with_items_of_start_in_flight_ends_soon(
    launch: Launcher, close: str, world: World
) -> None:
    assert_start_items_end_soon(launch, close, world)


@pytest.mark.full
@rotated("close", ["idle", "CloseSpider", "SIGINT"], start=5)
def test_close_waits_for_a_slow_handler_of_start_items(
    launch: Launcher, close: str, world: World
) -> None:
    assert_start_items_end_soon(launch, close, world, "slow_handler=0.5")


def assert_start_items_end_soon(
    launch: Launcher, close: str, world: World, *arguments: str
) -> None:
    if close == "CloseSpider":
        if scrapy.version_info < (2, 18):
            pytest.skip("Scrapy takes CloseSpider from start() since 2.18")
        arguments += ("stop=had_enough",)
    crawl = launch.crawl("start", world, *arguments, held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)
    crawl.wait_told("yielded", 6)
    close_by(close, crawl)

    crawl.open_gate()
    ended = crawl.finish()

    assert_everything_finished(ended)
    assert sorted(ended.told("scraped")) == [1, 2, 3, 4, 5, 6]
    # Without our help an idle close comes with the engine's heartbeat, up to 5 s later.
    assert ended.seconds_since("scraped") < 3.0


def close_by(close: str, crawl: Crawl) -> None:
    """Wait until a close has begun that the spider asks for, or Ctrl-C."""
    if close == "SIGINT":
        crawl.signal_group(signal.SIGINT)
    if close != "idle":
        crawl.wait_for("Closing spider")


@rotated("close", ["CloseSpider", "SIGINT"], start=0)
def test_close_while_start_waits_for_room_finishes_what_was_yielded(
    launch: Launcher, close: str, world: World
) -> None:
    settings = offload("Gate") | {"MPWORKERS_MAX_PENDING": 3}
    arguments = ("items=20", "close_at=2") if close == "CloseSpider" else ("items=20",)
    crawl = launch.crawl("start", world, *arguments, held=True, **settings)
    crawl.wait_told("busy", 2)
    crawl.wait_told("yielded", 3)
    close_by(close, crawl)

    crawl.open_gate()
    ended = crawl.finish()

    assert_everything_finished(ended)
    assert len(ended.items) < 20


@worlds()
def test_no_page_is_downloaded_that_no_worker_has_time_for(launch: Launcher, world: World) -> None:
    urls = " ".join(f"data:,{n}" for n in range(60))
    bounds = {"MPWORKERS_MAX_PENDING": None, "CONCURRENT_REQUESTS": 2, "LOGSTATS_INTERVAL": 0.5}
    settings = offload("Gate") | bounds
    crawl = launch.crawl("pages", world, f"urls={urls}", "items=1", held=True, **settings)
    crawl.wait_told("busy", 2)
    crawl.wait_for("Crawled [1-9]")  # half a second, in which all pages could have come
    requested = len(crawl.wait_told("requested"))

    crawl.open_gate()
    ended = crawl.finish()

    assert requested < 10
    assert ended.numbers == list(range(1, 61))
    assert_everything_finished(ended)


@worlds()
def test_callbacks_that_wait_for_other_pages_get_them(launch: Launcher, world: World) -> None:
    urls = " ".join(f"data:,{n}" for n in range(60))
    settings = offload("Mark") | {"MPWORKERS_MAX_PENDING": None, "CONCURRENT_REQUESTS": 2}

    ended = launch.crawl("meeting", world, f"urls={urls}", **settings).finish()

    assert ended.numbers == list(range(1, 61))
    assert_everything_finished(ended)
    # Had each four pages to wait for Scrapy's heartbeat, of 5 seconds, it would take over a minute.
    assert ended.stats["elapsed_time_seconds"] < 20


@worlds()
def test_servers_that_do_not_answer_keep_no_other_page_out(
    launch: Launcher, world: World, site: Site
) -> None:
    world.needs_http()
    pages = [f"held/{n}" for n in range(9)] + [f"quick/{n}" for n in range(20)]
    urls = " ".join(map(site.url, pages))
    settings = offload("Mark") | {"MPWORKERS_MAX_PENDING": None}
    settings |= {"CONCURRENT_REQUESTS_PER_DOMAIN": 16, "DOWNLOAD_TIMEOUT": 100}
    crawl = launch.crawl("pages", world, f"urls={urls}", "items=1", **settings)

    crawl.wait_told("scraped", 20)
    site.release()

    assert_everything_finished(crawl.finish())


@pytest.mark.skipif(scrapy.version_info < (2, 18), reason="this Scrapy does not heed it")
@pytest.mark.parametrize("pipeline", ["ClosesInOpen", "ClosesWhenOpened"])
@worlds()
def test_close_spider_while_the_spider_opens_closes_it_as_inline(
    launch: Launcher, world: World, pipeline: str
) -> None:
    settings = offload(pipeline)
    reference = launch.crawl("pages", world, **inline(**settings)).finish()
    ended = launch.crawl("pages", world, **settings).finish()

    assert "Spider closed (no_disk)" in reference.log
    assert "Spider closed (no_disk)" in ended.log
    assert ended.stats["log_count/ERROR"] == reference.stats["log_count/ERROR"] == 0
    assert ended.told("yielded") == reference.told("yielded") == []


@worlds()
def test_pipelines_in_scrapys_process_keep_no_page_waiting(launch: Launcher, world: World) -> None:
    urls = " ".join(f"data:,{n}" for n in range(60))
    settings = offload("Gate") | {"MPWORKERS_WORKERS": 0, "CONCURRENT_REQUESTS": 2}

    ended = launch.crawl("pages", world, f"urls={urls}", "items=1", **settings).finish()

    assert ended.exit_code == 0
    assert ended.numbers == list(range(1, 61))


# Another pipeline that fails beside ours

BEFORE, AFTER = 100, 500


def beside(bystander: str, order: int) -> dict[str, Any]:
    return offload("Gate") | {"ITEM_PIPELINES": {f"crawled.bystanders.{bystander}": order}}


@rotated("order", [BEFORE, AFTER], start=1)
@pytest.mark.parametrize("bystander", plain_first(["FailsToClose", "FailsToCloseAsync"]))
def test_failing_close_of_another_pipeline_leaves_ours_right(
    launch: Launcher, bystander: str, order: int, world: World
) -> None:
    crawl = launch.crawl("pages", world, held=True, **beside(bystander, order))
    crawl.wait_told("busy", 2)  # both workers: one that is still booting has nothing to close
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.exit_code == 0
    assert "a bystander failed to close" in ended.log
    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert ended.stats["mpworkers/items/done"] == 6
    assert set(ended.told("closed")) == set(ended.told("opened"))


@rotated("order", [BEFORE, AFTER], start=3)
def test_failing_open_of_another_pipeline_ends_as_inline(
    launch: Launcher, order: int, world: World
) -> None:
    settings = beside("FailsToOpen", order)
    reference = launch.crawl("pages", world, **inline(**settings)).finish()

    ended = launch.crawl("pages", world, **settings).finish()

    assert ended.exit_code == reference.exit_code
    assert "a bystander failed to open" in ended.log
    assert not ended.told("requested")
    assert not ended.items
