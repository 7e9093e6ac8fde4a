"""A crawl in which nothing reads the MPWORKERS_ settings says which line to change."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from plain import plain_first
from projects import make_project, write_files

from .harness import Ended, Launcher, World

WORLD = World("asyncio", "fork")
#: As ``scrapy startproject`` makes it, with the README's lines pasted above.
PASTED = {"+shop/settings.py": "ADDONS = {}\n"}
BY_HAND = {"ADDONS": {}, "MPWORKERS_WORKERS": 1}
PIPELINE = {"ITEM_PIPELINES": {"scrapy_mpworkers.WorkerPipeline": 300}}
EXTENSION = {"EXTENSIONS": {"scrapy_mpworkers.WorkerExtension": 0}}


def said(ended: Ended) -> list[str]:
    return re.findall(r"(?:WARNING|ERROR): (.*)", ended.log)


@pytest.mark.parametrize("command", ["crawl", "runspider"])
def test_emptied_addons_are_told_with_their_line(
    launch: Launcher, tmp_path: Path, command: str
) -> None:
    folder = make_project(tmp_path / "project", PASTED)
    what = "things" if command == "crawl" else "shop/spiders.py"

    ended = launch.scrapy(command, what, cwd=folder, world=WORLD).finish()

    [line] = said(ended)
    assert line == (
        "shop.pipelines.Price will not run, as scrapy_mpworkers.Addon is not active. Put "
        f'"scrapy_mpworkers.Addon": 500 into ADDONS in line 8 of {folder}/shop/settings.py '
        "(not in line 5: the last one counts); `scrapy mpworkers init` does that"
    )
    assert len(ended.items) == 8
    assert ended.exit_code == 0


@pytest.mark.parametrize("encoding", plain_first(["latin-1", "utf-8-sig"]))
def test_settings_in_any_encoding_of_python_are_read(
    launch: Launcher, tmp_path: Path, encoding: str
) -> None:
    folder = make_project(tmp_path / "project", PASTED)
    file = folder / "shop/settings.py"
    name = encoding.removesuffix("-sig")
    file.write_bytes(f"# coding: {name}\n# für alle\n{file.read_text()}".encode(encoding))

    ended = launch.scrapy("crawl", "things", cwd=folder, world=WORLD).finish()

    [line] = said(ended)
    assert f"into ADDONS in line 10 of {file}" in line


@pytest.mark.parametrize(
    ("settings", "component", "place"),
    plain_first(
        [
            (BY_HAND | EXTENSION, '"scrapy_mpworkers.WorkerPipeline": 300', "ITEM_PIPELINES"),
            ({"EXTENSIONS": {"scrapy_mpworkers.WorkerExtension": None}}, "Extension", "EXTENSIONS"),
            (BY_HAND | PIPELINE, '"scrapy_mpworkers.WorkerExtension": 0', "EXTENSIONS"),
            (BY_HAND | EXTENSION | {"MPWORKERS_ENABLED": False}, "Pipeline", "ITEM_PIPELINES"),
            ({"ADDONS": {}, "MPWORKERS_ENABLED": False}, "scrapy_mpworkers.Addon", "ADDONS"),
            ({"ADDONS": {}, "MPWORKERS_WORKERS": -1}, "scrapy_mpworkers.Addon", "ADDONS"),
        ],
        3,
    ),
)
def test_half_of_a_setup_is_told(
    launch: Launcher, tmp_path: Path, settings: dict[str, Any], component: str, place: str
) -> None:
    folder = make_project(tmp_path / "project", {})

    ended = launch.scrapy("crawl", "things", cwd=folder, world=WORLD, **settings).finish()

    [line] = [line for line in said(ended) if "is not active" in line]
    assert f"{component}" in line
    assert f" into {place}" in line


@pytest.mark.parametrize(
    "settings",
    plain_first(
        [
            {"MPWORKERS_ENABLED": False},
            BY_HAND | PIPELINE | EXTENSION,
            BY_HAND | PIPELINE | {"MPWORKERS_ENABLED": False},
            {"MPWORKERS_PIPELINES": {}},
        ],
        2,
    ),
    ids=str,
)
def test_a_crawl_whose_settings_are_read_is_told_nothing(
    launch: Launcher, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = make_project(tmp_path / "project", {})

    ended = launch.scrapy("crawl", "things", cwd=folder, world=WORLD, **settings).finish()

    assert said(ended) == []
    assert len(ended.items) == 8


def test_addons_of_the_command_line_are_named(launch: Launcher, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project", {})

    words = ("crawl", "things", "-s", "ADDONS={}")
    [line] = said(launch.scrapy(*words, cwd=folder, world=WORLD).finish())

    assert 'Put "scrapy_mpworkers.Addon": 500 on the command line (-s ADDONS=...)' in line


SCRIPT = """
    import scrapy
    from scrapy.crawler import CrawlerProcess
    import scrapy_mpworkers


    class Spider(scrapy.Spider):
        custom_settings = {"MPWORKERS_WORKERS": 1}

        async def start(self):
            yield {"n": 1}

    class With(Spider):
        name = "with"

    class Without(Spider):
        name = "without"
        custom_settings = {"ADDONS": {}, "MPWORKERS_WORKERS": 1}


    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_START_METHOD": "fork",
            "MPWORKERS_PIPELINES": {str: 300},
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(With)
    process.crawl(Without)
    process.start()
"""


def test_of_two_crawls_in_a_process_one_is_told(launch: Launcher, tmp_path: Path) -> None:
    write_files(tmp_path / "scripts", {"two.py": dedent(SCRIPT)})

    ended = launch.start(["two.py"], tmp_path / "scripts", world=WORLD).finish()

    [line] = said(ended)
    assert line == (
        "builtins.str will not run, as scrapy_mpworkers.Addon is not active. Put "
        '"scrapy_mpworkers.Addon": 500 into ADDONS of the spider\'s custom_settings'
    )
