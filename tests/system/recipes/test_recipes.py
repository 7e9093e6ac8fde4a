"""The code of docs/recipes.md, run as it is written, gives what Scrapy alone would give."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import pickle
import re
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from system.crawls.harness import World

from .book import BOOK, PIPELINES, code_of, make_project, recipes, sections

if TYPE_CHECKING:
    from pathlib import Path

    from system.crawls.harness import Launcher, Site

INLINE: dict[str, Any] = {"MPWORKERS_ENABLED": False}
SONGS = ("one two three four five six seven eight", "a b c d e f g h i j k l m", "la la la")


def pages(count: int) -> list[dict[str, Any]]:
    """Every third has the same text as the one three before."""
    return [
        {"url": f"http://pages.test/{n}", "title": f"Ä {n}", "words": n, "text": SONGS[n % 3]}
        for n in range(count)
    ]


def test_every_recipe_is_known_here() -> None:
    assert [*sections(BOOK)] == [
        "Drop exact copies",
        "Drop near copies",
        "Store in a database",
        "Write one file: CSV, JSON Lines",
        "A model, loaded once per worker",
        "Image work behind `ImagesPipeline`",
        "Heavy `parse`",
        "Coverage of pipelines",
    ]


@pytest.mark.parametrize("recipe", [*sections(BOOK)])
def test_code_of_a_recipe_compiles(recipe: str) -> None:
    for path, text in code_of(recipe):
        compile(text, path, "exec")


@pytest.mark.full
def test_exact_copies_are_dropped_as_inline(cook: Any) -> None:
    _, ended = cook("Drop exact copies", pages(30))
    _, inline = cook("Drop exact copies", pages(30), "inline", **INLINE)

    assert texts(ended) == texts(inline) == sorted(SONGS)
    assert ended.stats["item_dropped_count"] == inline.stats["item_dropped_count"] == 27


@pytest.mark.full
def test_near_copies_are_dropped_as_inline(cook: Any) -> None:
    items = [{**page, "text": " ".join([page["text"]] * 30)} for page in pages(12)]
    items[4]["text"] += " b"

    _, ended = cook("Drop near copies", items)
    _, inline = cook("Drop near copies", items, "inline", **INLINE)

    assert len(texts(ended)) == len(texts(inline)) == 3
    assert ended.stats["item_dropped_count"] == inline.stats["item_dropped_count"] == 9


def texts(ended: Any) -> list[str]:
    return sorted(item["text"] for item in ended.items)


@pytest.mark.full
def test_postgres_has_every_row_once(cook: Any, dsn: str) -> None:
    items = pages(1_200) + pages(100)

    _, ended = cook("Store in a database", items, STORE_DSN=dsn)

    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT url, title, words FROM pages ORDER BY words").fetchall()
    assert rows == [(item["url"], item["title"], item["words"]) for item in pages(1_200)]
    assert ended.stats["mpworkers/store/items/done"] == 1_300
    assert len(ended.items) == 1_300


@pytest.mark.full
def test_bad_row_is_the_only_one_that_postgres_does_not_have(cook: Any, dsn: str) -> None:
    items = pages(600)
    items[77]["words"] = "many"

    _, ended = cook("Store in a database", items, STORE_DSN=dsn)

    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT words FROM pages ORDER BY words").fetchall()
    assert [n for (n,) in rows] == [n for n in range(600) if n != 77]
    assert ended.stats["mpworkers/store/items/failed"] == 1
    assert "InvalidTextRepresentation" in ended.log


CUT_OFF = """
class CutOff(SaveToPostgres):
    cut = False

    def process_batch(self, items):
        if items[0]["words"] == 20 and not self.cut:
            self.cut = True
            with psycopg.connect(self.dsn, autocommit=True) as other:
                pid = self.connection.info.backend_pid
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
        return super().process_batch(items)
"""


@pytest.mark.full
def test_lost_connection_is_made_again(cook: Any, dsn: str) -> None:
    level = {
        "name": "store",
        "pipelines": {"myproject.pipelines.CutOff": 900},
        "workers": 1,
        "batch_size": 10,
    }
    _, ended = cook(
        "Store in a database",
        pages(40),
        also={PIPELINES: CUT_OFF},
        STORE_DSN=dsn,
        MPWORKERS_LEVELS=[level],
    )

    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pages").fetchone() == (40,)
    assert ended.stats["item_scraped_count"] == 40


def test_sqlite_has_every_row_once(cook: Any) -> None:
    level = {
        "name": "store",
        "pipelines": {"myproject.pipelines.SaveToSQLite": 900},
        "workers": 1,
        "batch_size": 50,
    }
    items = pages(120) + pages(30)
    items[77]["words"] = {"not": "a number"}

    project, ended = cook("Store in a database", items, MPWORKERS_LEVELS=[level])

    with contextlib.closing(sqlite3.connect(project / "pages.sqlite")) as db:
        rows = db.execute("SELECT words FROM pages ORDER BY words").fetchall()
    assert [n for (n,) in rows] == [n for n in range(120) if n != 77]
    assert ended.stats["mpworkers/items/failed"] == 1


@pytest.mark.full
def test_files_are_those_of_an_inline_crawl(cook: Any) -> None:
    recipe, items = "Write one file: CSV, JSON Lines", pages(330)

    project, _ = cook(recipe, items)
    inline, _ = cook(recipe, items, "inline", **INLINE)

    for name in ("pages.csv", "pages.jsonl"):
        assert (project / name).read_text("utf-8") == (inline / name).read_text("utf-8")
    assert len((project / "pages.csv").read_text("utf-8").splitlines()) == 331
    lines = (project / "pages.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == items


MODEL = """
import os


class Lengths:
    def __setstate__(self, state):
        with open("loads", "a") as loads:
            loads.write(f"{os.getpid()}\\n")

    def __getstate__(self):
        return "a model"

    def predict(self, texts):
        return ["long" if len(text) > 20 else "short" for text in texts]
"""


def test_model_is_loaded_once_in_each_worker(
    cook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "lengths.py").write_text(MODEL)
    monkeypatch.syspath_prepend(folder)
    lengths = importlib.import_module("lengths")
    (folder / "model.pickle").write_bytes(pickle.dumps(lengths.Lengths()))
    monkeypatch.delitem(sys.modules, "lengths")

    _, ended = cook("A model, loaded once per worker", pages(90))

    loads = (folder / "loads").read_text().split()
    assert len(loads) == len({*loads}) == 2
    assert {item["label"] for item in ended.items if item["text"] == "la la la"} == {"short"}
    assert {item["label"] for item in ended.items if item["text"] != "la la la"} == {"long"}
    assert len(ended.items) == 90


def test_images_are_looked_at_in_workers(cook: Any) -> None:
    recipe = "Image work behind `ImagesPipeline`"
    items = [{"n": n, "image_urls": [image_url(200 + n, 100)]} for n in range(4)]

    project, ended = cook(recipe, items)

    assert [look["size"] for item in sorted(ended.items, key=by_n) for look in item["looks"]] == [
        [200 + n, 100] for n in range(4)
    ]
    assert len({look["dhash"] for item in ended.items for look in item["looks"]}) == 1
    paths = [image["path"] for item in ended.items for image in item["images"]]
    assert all((project / "images/thumbs" / path).exists() for path in paths)


def by_n(item: dict[str, Any]) -> int:
    return int(item["n"])


def image_url(width: int, height: int) -> str:
    """A grey ramp, brightest at the left."""
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    ramp = image.linear_gradient("L").rotate(90).resize((width, height))
    ramp.convert("RGB").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


EXTRACT = """
def links_and_text(html):
    return ["b"], html
"""
LOCAL = """
class LocalSpider(PagesSpider):
    name = "local"

    def __init__(self, url):
        self.start_urls = [url]
"""


@pytest.mark.full
def test_heavy_parse_runs_in_workers_and_its_links_are_followed(
    launch: Launcher, site: Site, tmp_path: Path
) -> None:
    also = {"myproject/extract.py": EXTRACT, "myproject/spiders/pages.py": LOCAL}
    project = make_project(tmp_path / "project", "Heavy `parse`", [], also)
    world = World("asyncio", "forkserver")
    command = ("crawl", "local", "-a", f"url={site.url('a')}")

    ended = launch.scrapy(*command, cwd=project, world=world).finish()

    assert [item["url"] for item in ended.items] == [site.url("a"), site.url("b")]
    assert {item["text"] for item in ended.items} == {"<title>A page</title>"}
    assert ended.stats["mpworkers/calls/done"] == 2
    assert ended.stats["mpworkers/workers/started"] == 2


COVERED = """
class Counts:
    def open_spider(self):
        self.count = 0

    def process_item(self, item):
        self.count += 1
        return self.odd(item) if item["n"] % 2 else item

    def odd(self, item):
        return item | {"odd": True}

    def close_spider(self):
        del self.count
"""


@pytest.mark.full
@pytest.mark.parametrize(
    "method",
    [
        "forkserver",
        pytest.param("spawn", marks=pytest.mark.full),
        pytest.param("fork", marks=pytest.mark.full),
    ],
)
def test_coverage_sees_every_line_of_a_pipeline(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    items = [{"n": n} for n in range(20)]
    project = make_project(tmp_path / "project", "Coverage of pipelines", items)
    recipe = recipes()["Coverage of pipelines"]
    [config] = re.findall(r"^```ini\n# .coveragerc\n(.*?)^```", recipe, re.M | re.S)
    (project / ".coveragerc").write_text(config)
    (project / PIPELINES).write_text(COVERED)
    settings = {"MPWORKERS_PIPELINES": {"myproject.pipelines.Counts": 300}}

    command = ["-m", "coverage", "run", "-m", "scrapy", "crawl", "items"]
    ended = launch.start(command, project, world=World("asyncio", method), **settings).finish()
    coverage(project, "combine", "-q")
    report = coverage(project, "report", "-m", f"--include={PIPELINES}")

    assert ended.numbers == list(range(20))
    assert re.search(rf"^{PIPELINES} +\d+ +0 +100%", report, re.M), report


def coverage(project: Path, *words: str) -> str:
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
