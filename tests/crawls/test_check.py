"""``scrapy mpworkers check``: the whole picture, nothing run, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .harness import PROJECT, Ended, Launcher, World

WORLD = World("asyncio", "forkserver")


def check(launch: Launcher, *arguments: str, cwd: Path = PROJECT, **settings: Any) -> Ended:
    words = ("mpworkers", "check", *arguments)
    return launch.scrapy(*words, cwd=cwd, world=WORLD, **settings).finish()


def listed(*names: str) -> dict[str, Any]:
    paths = [name if "." in name else f"teaching.{name}" for name in names]
    return {"MPWORKERS_PIPELINES": {f"crawled.{one}": 300 + n for n, one in enumerate(paths)}}


def test_the_number_line_is_printed_in_order_with_hops_and_levels(launch: Launcher) -> None:
    compute = {"name": "compute", "pipelines": {"crawled.teaching.Computes": 300}}
    once = {"name": "once", "workers": 1, "wait": False}
    once["pipelines"] = {"crawled.teaching.Duplicates": 500}
    ended = check(
        launch,
        MPWORKERS_LEVELS=[once, compute | {"key": "n"}],
        ITEM_PIPELINES={"crawled.pipelines.Slow": 400},
    )

    assert ended.out.splitlines() == [
        "Checked: the project's settings, without those of a spider",
        "",
        "        hop 1: level compute, 2 workers, key n",
        "   300    crawled.teaching.Computes",
        "            touches     settings['BOT_NAME'], signals.spider_opened, spider.name, stats",
        "            placement   as it is",
        "   400  crawled.pipelines.Slow  in Scrapy's process",
        "        hop 2: level once, 1 worker, the crawl does not wait for it",
        "   500    crawled.teaching.Duplicates",
        "            touches     neither crawler nor spider",
        "            placement   as it is",
        "",
        "In a worker nothing would fail, 0 warnings.",
    ]
    assert ended.exit_code == 0


def test_warnings_alone_do_not_fail(launch: Launcher) -> None:
    ended = check(launch, **listed("Duplicates"))

    assert "warning     crawled.teaching.Duplicates remembers in self.seen" in ended.out
    assert 'placement   a level of its own with "workers": 1 (or a "key")' in ended.out
    assert "nothing would fail, 1 warning." in ended.out
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("pipelines.UsesEngine", "crawler.engine.download: only Scrapy's own process has it"),
        ("pipelines.Files", "downloads through the crawl's engine"),
        ("unimportable.X", "ModuleNotFoundError"),
        ("teaching.Missing", "crawled.teaching.Missing"),
        ("teaching.HearsOfItems", "signals.item_scraped: this signal is never sent in a worker"),
    ],
)
def test_what_would_fail_is_named_and_exits_with_1(launch: Launcher, name: str, part: str) -> None:
    ended = check(launch, **listed("Computes", name))

    assert part in " ".join(ended.out.split())
    assert ended.exit_code == 1


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({}, "list no pipeline"),
        ({"ADDONS": {}, **listed("Computes")}, "scrapy_mpworkers.Addon"),
        (
            {
                "ADDONS": {},
                "ITEM_PIPELINES": {"scrapy_mpworkers.WorkerPipeline": 300},
                **listed("Computes"),
            },
            "needs its extension",
        ),
        ({"MPWORKERS_WORKERS": "many", **listed("Computes")}, "MPWORKERS_WORKERS is 'many'"),
        (
            {"ITEM_PIPELINES": {"crawled.teaching.Computes": 1}, **listed("Computes")},
            "in both ITEM_PIPELINES and MPWORKERS_PIPELINES",
        ),
        (
            {
                "MPWORKERS_LEVELS": [
                    {
                        "name": "store",
                        "batch_size": 9,
                        "pipelines": {"crawled.teaching.Computes": 1},
                    }
                ]
            },
            "has process_batch",
        ),
    ],
    ids=["nothing", "no add-on", "no extension", "value", "twice", "no batch"],
)
def test_settings_that_cannot_work_exit_with_1(
    launch: Launcher, settings: dict[str, Any], part: str
) -> None:
    ended = check(launch, **settings)

    assert part in " ".join(ended.out.split())
    assert ended.exit_code == 1


def test_a_spiders_own_settings_count_when_it_is_named(launch: Launcher) -> None:
    ended = check(launch, "taught")

    assert "Checked: the settings of the spider taught" in ended.out
    assert "crawled.teaching.Duplicates" in ended.out
    assert ended.exit_code == 0


def test_the_only_spider_need_not_be_named(launch: Launcher) -> None:
    ended = check(launch, SPIDER_MODULES=["crawled.taught"])

    assert "Checked: the settings of the spider taught" in ended.out


@pytest.mark.parametrize("arguments", [("nobody",), ("one", "two")])
def test_wrong_use_exits_with_2(launch: Launcher, arguments: tuple[str, ...]) -> None:
    assert check(launch, *arguments).exit_code == 2


def test_outside_a_project_it_says_where_to_run(launch: Launcher, tmp_path: Path) -> None:
    ended = check(launch, cwd=tmp_path)

    assert "inside the Scrapy project" in ended.log
    assert ended.exit_code == 2


def test_where_workers_are_off_it_says_so(launch: Launcher) -> None:
    ended = check(launch, MPWORKERS_ENABLED=False, **listed("Duplicates"))

    assert "MPWORKERS_ENABLED is False" in ended.out
    assert "crawled.teaching.Duplicates  in Scrapy's process" in ended.out
    assert ended.exit_code == 0


def test_no_pipeline_is_built_and_no_reactor_imported() -> None:
    code = (
        "import atexit, sys\n"
        "from scrapy.cmdline import execute\n"
        "atexit.register(lambda: print('reactor:', 'twisted.internet.reactor' in sys.modules))\n"
        "execute(['scrapy', 'mpworkers', 'check'])\n"
    )
    settings = json.dumps(listed("pipelines.RaisesInFromCrawler"))

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"CRAWL_SETTINGS": settings},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "nothing would fail" in done.stdout
    assert "reactor: False" in done.stdout
    assert done.returncode == 0
