"""Callbacks of the spider in workers: those whose worker dies, and those that never end."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .harness import World, offload, rotated, worlds

if TYPE_CHECKING:
    from .harness import Launcher


@worlds()
def test_results_of_a_callback_come_from_a_worker(launch: Launcher, world: World) -> None:
    ended = launch.crawl("counting", world).finish()

    assert ended.numbers == list(range(10))
    assert ended.told("ran_in") != ended.told("parent")
    assert ended.stats["mpworkers/callbacks/done"] == 1
    assert ended.stats["counted"] == 10
    assert ended.exit_code == 0


@worlds()
@pytest.mark.parametrize(
    "offloaded", [{}, {"crawled.pipelines.Mark": 300}], ids=["alone", "beside"]
)
def test_callbacks_may_have_a_level_of_their_own(
    launch: Launcher, world: World, offloaded: dict[str, int]
) -> None:
    levels = [{"name": "parse", "workers": 1}, {"name": "compute", "pipelines": offloaded}]
    settings = {"MPWORKERS_LEVELS": levels, "MPWORKERS_CALLBACKS_LEVEL": "parse"}
    ended = launch.crawl("counting", world, **settings).finish()

    assert ended.numbers == list(range(10))
    assert ended.told("ran_in") != ended.told("parent")
    assert ended.stats["mpworkers/parse/workers/started"] == 1
    assert ended.stats.get("mpworkers/compute/items/done", 0) == 10 * len(offloaded)


@rotated("at", ["0", "5", "end", "700", "999"], plain=3)
def test_worker_dies_once_and_each_result_comes_once(
    launch: Launcher, world: World, at: str
) -> None:
    count = 1000 if at in ("700", "999") else 10

    ended = launch.crawl("counting", world, f"at={at}", f"count={count}").finish()

    assert ended.numbers == list(range(count))
    assert ended.stats["counted"] == count
    assert ended.stats["mpworkers/workers/deaths"] == 1
    assert ended.stats["mpworkers/callbacks/done"] == 1


@worlds()
def test_callback_that_uses_what_has_become_too_large_goes_home(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("growing", world, MPWORKERS_CALLBACKS=["count"]).finish()

    assert set(ended.numbers) <= {1000, 2000, 3000}
    assert len(ended.numbers) == 3
    assert ended.log.count("callback count runs in Scrapy's own process from now on") == 1
    assert "spider.words is not available in a worker" in ended.log


@worlds()
def test_pipeline_that_uses_what_has_become_too_large_says_so(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("growing", world, **offload("crawled.callbacks.CountsWords")).finish()

    assert ended.numbers == []
    assert ended.stats["mpworkers/items/failed"] == 3
    assert (
        "spider.words is not available in a worker: it could not be sent there (it has changed"
        in (ended.log)
    )


@worlds()
def test_worker_crashes_in_native_code(launch: Launcher, world: World) -> None:
    ended = launch.crawl("counting", world, "at=700", "count=1000", "deed=segfault").finish()

    assert ended.numbers == list(range(1000))
    assert ended.stats["mpworkers/workers/deaths/SIGSEGV"] == 1


@worlds()
def test_callback_that_hangs_is_given_up_behind_its_results(launch: Launcher, world: World) -> None:
    ended = launch.crawl(
        "counting", world, "at=700", "count=1000", "deed=hang", MPWORKERS_ITEM_TIMEOUT=1.0
    ).finish()

    # What it had yielded since its last part is lost with its worker.
    assert 100 < len(ended.numbers) <= 700
    assert ended.numbers == list(range(len(ended.numbers)))
    assert ended.stats["mpworkers/callbacks/dead_lettered"] == 1
    assert ended.stats["spider_exceptions/ItemTimeout"] == 1
    assert "this callback took longer than 1 s" in ended.log
    assert re.search(r"line \d+, in .*hang", ended.log)  # its stack


@worlds()
def test_callback_that_kills_every_worker_is_given_up(launch: Launcher, world: World) -> None:
    ended = launch.crawl(
        "counting", world, "at=12", "count=10", "pages=3", "always=1", MPWORKERS_REDELIVER_TIMES=1
    ).finish()

    assert ended.numbers == [*range(10), *range(20, 30)]
    assert ended.stats["mpworkers/callbacks/dead_lettered"] == 1
    assert ended.stats["spider_exceptions/WorkerDied"] == 1
    assert "data:text/plain,1" in ended.log
    assert "while it ran this callback" in ended.log


@worlds()
def test_same_hash_seed_makes_a_set_of_strings_repeatable(launch: Launcher, world: World) -> None:
    ended = launch.crawl("counting", world, "at=700", "count=1000", "order=set").finish()

    assert ended.numbers == list(range(1000))
    assert ended.stats["mpworkers/workers/deaths"] == 1


@worlds()
def test_results_that_are_not_the_same_again_are_an_error(launch: Launcher, world: World) -> None:
    ended = launch.crawl("counting", world, "at=700", "count=1000", "order=random").finish()

    assert ended.stats["spider_exceptions/NotRepeatableError"] == 1
    assert "numbers is not repeatable" in ended.log
    assert 200 <= len(ended.numbers) < 700
    assert len(set(ended.numbers)) == len(ended.numbers)


@worlds()
def test_results_that_need_the_worker_of_their_callback(launch: Launcher, world: World) -> None:
    one = {"MPWORKERS_WORKERS": 1, "MPWORKERS_MAX_PENDING": 1}

    ended = launch.crawl("counting", world, "count=2000", **one, **offload("Mark")).finish()

    assert ended.numbers == list(range(2000))
    assert ended.stats["mpworkers/items/done"] == 2000


@worlds()
def test_every_worker_is_in_a_callback_whose_results_need_one(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("counting", world, "count=700", "pages=6", **offload("Mark")).finish()

    assert ended.numbers == list(range(4200))
    assert ended.stats["mpworkers/callbacks/done"] == 6


@worlds()
def test_callback_that_is_not_read_to_its_end(launch: Launcher, world: World) -> None:
    ended = launch.crawl(
        "counting", world, "count=5000", SPIDER_MIDDLEWARES={"crawled.callbacks.Impatient": 500}
    ).finish()

    assert ended.numbers == [0, 1, 2]
    assert ended.stats["mpworkers/callbacks/done"] == 1


@worlds()
def test_first_ctrl_c_while_all_workers_are_in_callbacks(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("held", world, "seconds=0.05", "pages=1000")
    crawl.wait_told("busy", 10)

    crawl.signal_group(signal.SIGINT)
    ended = crawl.finish()

    assert ended.stats["mpworkers/callbacks/submitted"] == ended.stats["mpworkers/callbacks/done"]
    assert len(ended.items) < 60
    assert ended.numbers == sorted(ended.told("busy"))


@worlds()
def test_pages_wait_while_workers_are_busy(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("held", world, "pages=200", held=True)
    crawl.wait_told("busy", 2)
    crawl.open_gate()

    ended = crawl.finish()

    assert ended.numbers == list(range(200))


@worlds(plain=False)
def test_many_results_need_no_more_memory_than_a_tenth_of_them(
    launch: Launcher, world: World
) -> None:
    crawl = launch.crawl("endless", world, "count=200000", LOG_LEVEL="INFO", FEEDS={})
    crawl.deadline += 300
    ended = crawl.finish()

    assert ended.stats["item_scraped_count"] == 200_000
    for who in ("worker", "parent"):
        # A worker's first full garbage collection touches all that it has in common with others.
        _, first, *_, last = ended.told(who)
        assert last < first + 20 * 1024, ended.told(who)  # KiB


@worlds(plain=False)
def test_large_responses_and_many_requests(launch: Launcher, world: World, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * (100 << 20))
    page = f"page={(tmp_path / 'page').as_uri()}"

    ended = launch.crawl("large", world, page, LOG_LEVEL="INFO", DOWNLOAD_WARNSIZE=0).finish()

    assert ended.numbers == [100 << 20]
    assert ended.stats["scheduler/enqueued"] == 101
    assert ended.stats["dupefilter/filtered"] == 9_900
    assert ended.stats["mpworkers/callbacks/done"] == 101


@worlds()
def test_callback_that_was_given_up_can_be_sent_again(
    launch: Launcher, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = {"MPWORKERS_DEAD_LETTERS": str(tmp_path / "dead.jsonl"), "MPWORKERS_REDELIVER_TIMES": 0}
    first = launch.crawl("poisonous", world, **dead).finish()
    [letter] = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())

    monkeypatch.setenv("REPAIRED", "1")
    again = launch.scrapy("mpworkers", "replay", dead["MPWORKERS_DEAD_LETTERS"], world=world)
    replayed = again.finish()

    assert first.numbers == [0, 2]
    assert letter["item"] == {"callback": "poison", "url": "data:text/plain,1", "method": "GET"}
    assert letter["reason"] == "WorkerDied"
    assert [item["n"] for item in replayed.items[-2:]] == [1, 100]  # its arguments came along
    assert "1 done" in replayed.out
    assert replayed.exit_code == 0


REASONS = {
    "parse": "it keeps self.seen from page to page",
    "by_browser": "it uses self.browser (",
    "by_engine": "it uses crawler.engine.downloader (",
}


@worlds()
def test_callbacks_that_no_worker_can_run_are_left_out_of_all(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("mixed", world, MPWORKERS_CALLBACKS=True).finish()

    home = set(ended.told("parse"))
    assert sorted(ended.numbers) == [1, 2, 11, 12, 21, 22]
    assert {*ended.told("by_browser"), *ended.told("by_engine")} == home
    assert not home & set(ended.told("heavy"))
    for name, why in REASONS.items():
        line = f"The callback {name} stays in Scrapy's own process: {why}"
        assert ended.log.count(line) == 1
    assert not re.search(r"\[scrapy_mpworkers[.\w]*\] WARNING", ended.log)
    assert ended.stats["mpworkers/callbacks/done"] == 2


@worlds()
def test_callbacks_that_are_named_are_warned_of_once(launch: Launcher, world: World) -> None:
    names = ["parse", "heavy", "by_engine", "by_browsers"]
    ended = launch.crawl("mixed", world, MPWORKERS_CALLBACKS=names).finish()

    path = "crawled.callbacks.Mixed"
    for line in (
        "MPWORKERS_CALLBACKS lists by_browsers, but Mixed has no such method. Did you mean by_b",
        f"{path}.parse keeps self.seen from page to page. Each of the 2 workers has its own",
        f"{path}.by_engine uses crawler.engine.downloader (",
    ):
        assert ended.log.count(f"WARNING: {line}") == 1
    assert f"{path}.heavy" not in ended.log
    assert "changed spider.seen" not in ended.log  # a worker has seen it, too
    assert "stays in Scrapy's own process" not in ended.log
    home = "The callback by_engine runs in Scrapy's own process from now on: crawler.engine.down"
    assert ended.log.count(f"WARNING: {home}") == 1
    assert ended.stats["mpworkers/callbacks/failed"] == 0
    # No page is lost, and some come twice where the first two workers have seen the same page.
    assert set(ended.numbers) == {1, 2, 11, 12, 21, 22}
    assert not set(ended.told("parse")) & set(ended.told("by_browser"))


@worlds()
def test_callbacks_whose_results_nobody_begins_to_read_keep_no_page_out(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl(
        "listing", world, SPIDER_MIDDLEWARES={"crawled.callbacks.Deaf": 500}
    ).finish()

    assert ended.items == []
    assert ended.stats["mpworkers/callbacks/done"] == 40
