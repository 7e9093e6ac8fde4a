"""Each block of Python in docs/guides is run by a test; here are those without other packages."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from system.crawls.harness import SCRAPY, SCRIPTS, World

from .book import BOOK, GUIDES, PIPELINES, blocks, code_of, make_project, recipes, sections
from .guides import INLINE, by_url, texts_of_tests

if TYPE_CHECKING:
    from system.crawls.harness import Launcher

WORLD = World("asyncio", "forkserver")
HERE = Path(__file__).parent
#: Sections whose code a test elsewhere takes from its page, and the file that does.
ELSEWHERE = {
    "Crawl inside a Celery task": (SCRIPTS / "documented_task.py", "docs/guides/celery.md")
}
SECTIONS = [
    pytest.param(heading, id=f"{page.stem}: {heading}")
    for page in GUIDES
    for heading, text in sections(page).items()
    if blocks(text)
]


@pytest.mark.parametrize("heading", SECTIONS)
def test_code_of_each_section_is_run_by_a_test(heading: str) -> None:
    if heading in ELSEWHERE:
        module, page = ELSEWHERE[heading]
        assert page in module.read_text("utf-8")
    else:
        assert heading in texts_of_tests(*HERE.glob("test_guides*.py"))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_code_stands_in_a_section_of_its_own(page: Path) -> None:
    mine = [block for text in sections(page).values() for block in blocks(text)]

    assert blocks(page.read_text("utf-8")) == mine
    assert page.read_text("utf-8").count("\n```python") == len(mine)
    assert all(
        recipes()[heading] == text for heading, text in sections(page).items() if blocks(text)
    )
    others = [heading for other in (BOOK, *GUIDES) if other != page for heading in sections(other)]
    assert not [
        heading for heading, text in sections(page).items() if blocks(text) and heading in others
    ]
    for heading in sections(page):
        for path, text in code_of(heading):
            compile(text, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_what_cannot_be_run_is_marked_so(page: Path) -> None:
    text = page.read_text("utf-8")

    if "```yaml" in text or "```sh" in text:
        assert "not run by the tests" in text


# Move a pipeline


def checked(heading: str, folder: Path) -> tuple[str, str]:
    """What ``check`` says of the project of a section, and what the page says that it says."""
    project = make_project(folder, heading, [])
    command = [sys.executable, SCRAPY, "mpworkers", "check", "items"]
    said = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False).stdout
    (shown,) = (part.partition("```")[0] for part in recipes()[heading].split("```text\n")[1:])
    return said, shown


def test_pipeline_that_has_moved_gives_what_it_gave(cook: Any, tmp_path: Path) -> None:
    heading = "Before and after"
    items = [{"url": f"u{n}", "text": "b a b a b c" if n else ""} for n in range(9)]

    said, shown = checked(heading, tmp_path / "checked")
    _, ended = cook(heading, items)
    _, inline = cook(heading, items, "inline", **INLINE)

    assert shown.strip() in said
    assert by_url(ended) == by_url(inline)
    assert [item["keywords"] for item in ended.items] == [["b", "a", "c"]] * 8
    assert ended.stats["item_dropped_count"] == inline.stats["item_dropped_count"] == 1
    assert ended.stats["mpworkers/items/done"] == 8


def test_check_says_of_a_memory_what_the_page_shows(tmp_path: Path) -> None:
    said, shown = checked("A pipeline that remembers", tmp_path / "checked")

    assert shown.strip() in said


# Sizing


def test_item_that_wants_too_much_fails_alone(cook: Any) -> None:
    items = [{"url": f"u{n}", "text": "a  b"} for n in range(6)]
    greedy = """
class Greedy(Extract):
    def process_item(self, item):
        if item["url"] == "u3":
            bytearray(3 * 1024**3)
        return super().process_item(item)
"""
    settings = {"MPWORKERS_PIPELINES": {"myproject.pipelines.Greedy": 300}}

    _, ended = cook("Memory", items, also={PIPELINES: greedy}, **settings)

    assert [item["text"] for item in ended.items] == ["a b"] * 5
    assert ended.stats["mpworkers/items/failed"] == 1
    assert ended.stats["mpworkers/workers/deaths"] == 0
    assert "MemoryError" in ended.log


# Containers

HANGS = """
import time


class Hangs:
    def process_item(self, item):
        if item["n"] == 1:
            print("@hangs [1]", file=__import__("sys").stderr, flush=True)
            time.sleep(600)
        return item
"""


@pytest.mark.full  # it waits for the end of a timeout, for which other tests do not
def test_crawl_whose_item_hangs_ends_within_its_grace_period(
    launch: Launcher, tmp_path: Path
) -> None:
    heading, items = "SIGTERM and the grace period", [{"n": n} for n in range(4)]
    project = make_project(tmp_path / "project", heading, items, {PIPELINES: HANGS})
    (project / "state").mkdir()
    settings = {"MPWORKERS_PIPELINES": {"myproject.pipelines.Hangs": 300}}

    crawl = launch.scrapy("crawl", "items", cwd=project, world=WORLD, **settings)
    crawl.wait_told("hangs")
    began = time.monotonic()
    crawl.send(signal.SIGTERM)
    ended = crawl.finish()

    assert ended.time - began < 25
    assert ended.exit_code == 0
    letters = (project / "state/dead-letters.jsonl").read_text().splitlines()
    assert letters and all("CloseTimeout" in letter for letter in letters)
    assert {item["n"] for item in ended.items}.isdisjoint({1})
    assert len(ended.items) + len(letters) == ended.stats["mpworkers/items/submitted"] == 4


# Links


def anchors(page: Path) -> set[str]:
    """What its headings are called in links, as GitHub and MkDocs name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize(
    "page", [BOOK, BOOK.with_name("operators.md"), *GUIDES], ids=lambda page: page.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text("utf-8"))
    leading = [(page.parent / path if path else page, anchor) for path, anchor in links]

    assert [str(to) for to, _ in leading if not to.is_file()] == []
    assert [(str(to), at) for to, at in leading if at and at not in anchors(to)] == []
