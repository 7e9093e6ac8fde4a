"""Every way to run Scrapy works as it does without us, and runs the user's script once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .harness import SCRIPTS, offload, worlds

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Ended, Launcher, World


@worlds()
def test_unguarded_script_runs_once(launch: Launcher, world: World) -> None:
    ended = launch.script("unguarded.py", world=world).finish()

    assert_ran_once_in_workers(ended)


@worlds(plain=False)
def test_pipeline_of_a_script_may_be_listed_by_its_path(launch: Launcher, world: World) -> None:
    ended = launch.script("unguarded.py", "by_path", world=world).finish()

    assert_ran_once_in_workers(ended)


@worlds(plain=False)
def test_classes_may_be_local_to_a_function(launch: Launcher, world: World) -> None:
    ended = launch.script("local_classes.py", world=world).finish()

    assert_ran_once_in_workers(ended)


@worlds()
def test_runspider_takes_a_file_with_item_class_and_pipeline(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    feed = tmp_path / "pages.jl"
    options = [
        f"-s{name}={'' if value is None else value}" for name, value in world.settings.items()
    ]
    command = ["runspider", str(SCRIPTS / "standalone.py"), f"-O{feed}", *options]
    ended = launch.scrapy(*command, cwd=tmp_path, world=world).finish()

    assert sorted(json.loads(line)["n"] for line in feed.read_text().splitlines()) == [1, 2, 3]
    assert ended.stats["mpworkers/items/done"] == 3
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param((), id="at_once"),
        pytest.param(("in_turn",), id="in_turn", marks=pytest.mark.full),
    ],
)
@worlds()
def test_two_spiders_share_a_process(launch: Launcher, turn: tuple[str], world: World) -> None:
    ended = launch.script("two_spiders.py", *turn, world=world).finish()

    assert ended.told("run") == [[]]
    assert ended.numbers == [1, 1, 2, 2, 3, 3]
    assert main_pid(ended) not in pids(ended)
    assert ended.exit_code == 0


def assert_ran_once_in_workers(ended: Ended) -> None:
    assert ended.told("run") == [[]]
    assert ended.numbers == [1, 2, 3], ended.log
    assert main_pid(ended) not in pids(ended)
    assert ended.exit_code == 0


def pids(ended: Ended) -> set[int]:
    return {item["pid"] for item in ended.items}


def main_pid(ended: Ended) -> int:
    return int(ended.out.split()[-1])


# A project as `scrapy startproject` makes it, and the two lines of our README

SPIDER = """
import scrapy

class TitlesSpider(scrapy.Spider):
    name = "titles"
    start_urls = ["data:text/html,<title>A%20page</title>"]

    def parse(self, response):
        yield {"n": 1, "title": response.css("title::text").get()}
"""

PIPELINE = """
class Upper:
    def process_item(self, item):
        return item | {"title": item["title"].upper()}
"""

TWO_LINES = """
ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_PIPELINES = {"shop.pipelines.Upper": 300}
import json, os
globals().update(json.loads(os.environ["CRAWL_SETTINGS"]))
"""


@worlds()
def test_generated_project_needs_two_lines(launch: Launcher, world: World, tmp_path: Path) -> None:
    created = launch.scrapy("startproject", "shop", cwd=tmp_path, world=world).finish()
    package = tmp_path / "shop" / "shop"
    (package / "spiders" / "titles.py").write_text(SPIDER)
    (package / "pipelines.py").write_text(PIPELINE)
    with (package / "settings.py").open("a") as settings:
        settings.write(TWO_LINES)

    ended = launch.scrapy("crawl", "titles", cwd=package.parent, world=world).finish()

    assert created.exit_code == ended.exit_code == 0
    assert ended.items == [{"n": 1, "title": "A PAGE"}]
    assert ended.stats["mpworkers/items/done"] == 1


# Scrapy's other commands, in a project with workers


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The URL of a page that no server is needed for; `data:` is no URL to these commands."""
    file = tmp_path / "page.txt"
    file.write_text("hello")
    return file.as_uri()


def run(launch: Launcher, world: World, *arguments: str) -> Ended:
    settings: dict[str, Any] = {"FEEDS": {}, **offload("Mark")}
    ended = launch.scrapy(*arguments, world=world, **settings).finish()
    assert ended.exit_code == 0
    return ended


@worlds()
def test_shell_evaluates_and_ends(launch: Launcher, page: str, world: World) -> None:
    ended = run(launch, world, "shell", "-c", "response.text * 2", page)

    assert ended.out == "hellohello\n"


@worlds(plain=False)
def test_fetch_prints_the_page(launch: Launcher, page: str, world: World) -> None:
    ended = run(launch, world, "fetch", page)

    assert ended.out == "hello\n"


@worlds(plain=False)
def test_parse_shows_items_as_the_pipelines_left_them(
    launch: Launcher, page: str, world: World
) -> None:
    options = ("--pipelines", "--spider=pages", "--nocolour")
    ended = run(launch, world, "parse", *options, page)

    assert ended.out.count("'n':") == 6
    assert ended.out.count("'pid':") == 6
    assert ended.told("opened")


@worlds()
def test_check_starts_no_worker(launch: Launcher, world: World) -> None:
    ended = run(launch, world, "check")

    assert "Ran 1 contract " in ended.log
    assert "OK" in ended.log
    assert not ended.told("opened")
