"""The example's index is the same in SQLite and in PostgreSQL, however often a page is stored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.syspath_prepend(ROOT / "example_project")
    from pydocs.index import open_index

    is_file = request.param == "SQLite"
    index = open_index(
        str(tmp_path / "pages.sqlite") if is_file else request.getfixturevalue("dsn")
    )
    yield index
    index.close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydocs"]:
        monkeypatch.delitem(sys.modules, name)


def pages(**texts: str) -> list[Any]:
    from pydocs.items import Page

    return [
        Page(module, f"About {module}", "", text, ["some", "words"])
        for module, text in texts.items()
    ]


def test_page_that_is_stored_twice_is_there_once(index: Any) -> None:
    index.save(pages(bisect="keeps a list sorted", heapq="a queue"), crawl=1)
    index.save(pages(bisect="keeps a list in order"), crawl=1)
    index.finish(crawl=1)

    assert index.rows() == [
        ("bisect", "About bisect", "some, words", "keeps a list in order"),
        ("heapq", "About heapq", "some, words", "a queue"),
    ]
    assert [hit.module for hit in index.search("order sorted")] == ["bisect"]


def test_rows_of_an_earlier_crawl_go_when_the_next_one_ends(index: Any) -> None:
    index.save(pages(bisect="keeps a list sorted", imp="imports"), crawl=1)
    index.finish(crawl=1)
    index.save(pages(bisect="keeps a list sorted"), crawl=2)

    before = [row[0] for row in index.rows()]
    index.finish(crawl=2)

    assert before == ["bisect", "imp"]
    assert [row[0] for row in index.rows()] == ["bisect"]


def test_of_near_copies_the_best_names_the_others(index: Any) -> None:
    posix, ntpath = pages(posixpath="joins paths", ntpath="joins paths, paths")
    ntpath.near_copies = ["posixpath"]
    index.save([posix, ntpath], crawl=1)
    index.finish(crawl=1)

    [hit] = index.search("paths")

    assert {hit.module, *hit.near_copies} == {"ntpath", "posixpath"}


@pytest.mark.parametrize("words", ['"', "a OR", "NEAR( -x", "':* &"])
def test_any_words_may_be_searched(index: Any, words: str) -> None:
    index.save(pages(bisect="keeps a list sorted"), crawl=1)
    index.finish(crawl=1)

    assert list(index.search(words)) in ([], list(index.search("bisect")))
