"""Pipelines that kill every worker break the pool, and the command says so; a few items do not."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from plain import plain_first
from projects import make_project, write_files

from .harness import Ended, Launcher, World

#: Starts of workers are most of the time that these crawls take.
FEW_DEATHS = {"MPWORKERS_REDELIVER_TIMES": 1, "MPWORKERS_RESTART_INTENSITY": 6}

PIPELINES = """
    import os

    class Price:
        def process_item(self, item):
            if item["n"] < 1000:
                os._exit(7)
            return item
"""


def project(folder: Path, deadly: int = 1000) -> Path:
    pipelines = PIPELINES.replace("1000", str(deadly))
    more = {"shop/pipelines.py": pipelines, "shop/runnable.py": RUNNABLE}
    return make_project(folder, more)


RUNNABLE = """
    import sys

    import scrapy

    class Things(scrapy.Spider):
        name = "things"
        count = 8
        custom_settings = {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_PIPELINES": {"shop.pipelines.Price": 300},
        }

        async def start(self):
            for n in range(int(self.count)):
                print(f"@made [{n}]", file=sys.stderr, flush=True)
                yield {"n": n}
"""


def errors(ended: Ended) -> list[str]:
    return re.findall(r"\[scrapy_mpworkers.pool\S* ERROR: (.*)", ended.log)


@pytest.mark.parametrize(
    ("command", "world"),
    plain_first(
        [
            ("crawl", World("asyncio", "forkserver")),
            ("runspider", World("none", "fork")),
            ("crawl", World("default", "fork")),
        ],
        2,
    ),
    ids=str,
)
def test_pipelines_that_kill_every_worker_break_the_pool_and_fail_the_command(
    launch: Launcher, tmp_path: Path, command: str, world: World
) -> None:
    what = "things" if command == "crawl" else "shop/runnable.py"
    folder = project(tmp_path / "project")

    words = (command, what, "-a", "count=60")
    ended = launch.scrapy(*words, cwd=folder, world=world, **FEW_DEATHS).finish()

    [broken] = [line for line in errors(ended) if "the worker pool is broken" in line]
    found = re.search(r"(\d+) items in a row killed (\d+) workers and were given up", broken)
    assert found
    assert int(found[1]) == 6
    assert "so it is not a few items, but the pipelines; the last: worker-" in broken
    assert "exited with code 7" in broken
    assert "'finish_reason': 'mpworkers_broken'" in ended.log
    assert ended.exit_code == 1
    assert ended.stats["mpworkers/workers/started"] <= int(found[2]) + 6
    assert ended.stats["mpworkers/items/done"] == 0
    assert "never retrieved" not in ended.log
    assert "Unhandled" not in ended.log


def test_no_item_is_made_for_a_pool_that_is_broken(launch: Launcher, tmp_path: Path) -> None:
    folder, world = project(tmp_path / "project"), World("asyncio", "fork")

    ended = launch.scrapy(
        "runspider", "shop/runnable.py", "-a", "count=600", cwd=folder, world=world, **FEW_DEATHS
    ).finish()

    before, broken, after = ended.log.partition("the worker pool is broken")
    assert broken
    assert "@made" in before
    assert "@made" not in after


def test_a_few_deadly_items_before_many_good_ones_do_not(launch: Launcher, tmp_path: Path) -> None:
    folder, world = project(tmp_path / "project", deadly=5), World("asyncio", "fork")

    ended = launch.scrapy(
        "crawl", "things", "-a", "count=40", cwd=folder, world=world, MPWORKERS_REDELIVER_TIMES=1
    ).finish()

    assert sorted(item["n"] for item in ended.items) == list(range(5, 40))
    assert ended.stats["mpworkers/items/dead_lettered"] == 5
    assert "'finish_reason': 'finished'" in ended.log
    assert ended.exit_code == 0


SCRIPT = """
    import os
    import scrapy
    from scrapy.crawler import AsyncCrawlerProcess


    class Kills:
        def process_item(self, item):
            os._exit(7)


    class Counts:
        def process_item(self, item):
            return {"n": item["n"]}


    class Deadly(scrapy.Spider):
        name = "deadly"
        custom_settings = {"MPWORKERS_PIPELINES": {"__main__.Kills": 300}}

        async def start(self):
            for n in range(30):
                yield {"n": n}


    class Good(Deadly):
        name = "good"
        custom_settings = {"MPWORKERS_PIPELINES": {"__main__.Counts": 300}}


    process = AsyncCrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_START_METHOD": "fork",
            "MPWORKERS_WORKERS": 2,
            "MPWORKERS_REDELIVER_TIMES": 1,
            "MPWORKERS_RESTART_INTENSITY": 6,
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    crawlers = [process.create_crawler(cls) for cls in (Deadly, Good)]
    for crawler in crawlers:
        process.crawl(crawler)
    process.start()
    for crawler in crawlers:
        stats = crawler.stats.get_stats()
        print(crawler.spider.name, stats["finish_reason"], stats["mpworkers/items/done"])
    print("failed", process.bootstrap_failed)
"""


def test_another_crawl_of_the_process_ends_as_it_would(launch: Launcher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "scripts", {"two.py": dedent(SCRIPT)})

    ended = launch.start(["two.py"], folder, world=World("asyncio", "fork")).finish()

    assert set(ended.out.splitlines()) == {
        "deadly mpworkers_broken 0",
        "good finished 30",
        "failed True",
    }
    assert ended.exit_code == 0
