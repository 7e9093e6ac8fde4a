"""``scrapy mpworkers init``: the add-on comes into settings.py, and nothing else changes there."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from projects import make_project, write_files
from system.crawls.harness import Ended, Launcher, World

from scrapy_mpworkers.commands.init import CannotEdit, read, with_addon

WORLD = World("asyncio", "fork")
OURS = ("scrapy_mpworkers.Addon", 500)


def addons(source: str) -> list[tuple[object, object]]:
    """What ADDONS has in the end, in order."""
    names: dict[str, dict[object, object]] = {}
    exec(source, {"Other": "Other"}, names)
    return list(names["ADDONS"].items())


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("", 0),
        ("BOT_NAME = 'shop'", 0),
        ("BOT_NAME = 'shop'\r\n", 0),
        ("# ADDONS = {}\n", 0),
        ("ADDONS = {}\n", 0),
        ("ADDONS = {  # none yet\n    # one a line\n}\nX = 1\n", 0),
        ("ADDONS: dict[str, int] = {}\n", 0),
        ("ADDONS = {'a.B': 1}\n", 1),
        ("TOWN = 'Zürich'; ADDONS = {'ü.B': 1, Other: 2}\n", 2),
        ("ADDONS = {\n    'a.B': 1,  # first\n    'c.D': None,\n}\n", 2),
        ("ADDONS = {'scrapy_mpworkers.Addon': 500}\nADDONS = {}\n", 0),
        ("def f():\n    ADDONS = {'a': 1}\nADDONS = OLD = {}\n", 0),
    ],
)
def test_the_addon_stands_before_the_others_and_all_else_stays(text: str, before: int) -> None:
    edited = with_addon(text, before)

    assert addons(edited)[0] == OURS
    assert len(addons(edited)) == before + 1
    assert len(set(text.splitlines()) - set(edited.splitlines())) <= 1
    for comment in ("# none yet", "# one a line", "# first", "# ADDONS = {}", "X = 1"):
        assert (comment in edited) == (comment in text)
    assert ("\r" in edited) == ("\r" in text)
    assert edited.count("\r\n") == edited.count("\r")


@pytest.mark.parametrize(
    ("text", "before", "why"),
    [
        ("from .base import *\n", 1, "come from elsewhere"),
        ("if LOCAL:\n    ADDONS = {}\n", 0, "line 2 sets ADDONS only at times"),
        ("ADDONS = dict()\n", 0, "line 1 does not write all of ADDONS out"),
        ("ADDONS = {**MORE, 'a.B': 1}\n", 1, "does not write all of ADDONS out"),
        ("ADDONS: dict\n", 0, "does not write all of ADDONS out"),
        ("ADDONS = {'scrapy_mpworkers.Addon': None}\n", 1, "line 1 switches the add-on off"),
        ("ADDONS = {}\nADDONS['a.B'] = 1\n", 1, "other lines may change"),
        ("ADDONS = {}\nfrom .local import *\n", 0, "other lines may change"),
    ],
)
def test_what_cannot_be_edited_for_sure_is_refused(text: str, before: int, why: str) -> None:
    with pytest.raises(CannotEdit, match=why):
        with_addon(text, before)


def test_an_encoding_of_the_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_bytes("# -*- coding: latin-1 -*-\nX = 'é'\n".encode("latin-1"))

    text, encoding = read(file)

    assert ast.parse(text)
    assert text.encode(encoding) == file.read_bytes()


def init(launch: Launcher, folder: Path, *arguments: str) -> Ended:
    return launch.scrapy("mpworkers", "init", *arguments, cwd=folder, world=WORLD).finish()


def project(folder: Path, addons: str) -> Path:
    """A project as ``startproject`` makes it, without a word of the test's."""
    make_project(folder, {})
    settings = f"BOT_NAME = 'shop'\nSPIDER_MODULES = ['shop.spiders']\n{addons}\n"
    more = "MPWORKERS_WORKERS = 1\nMPWORKERS_PIPELINES = {'shop.pipelines.Price': 300}\n"
    return write_files(folder, {"shop/settings.py": dedent(settings + more)})


def test_it_shows_the_change_and_writes_nothing_unless_somebody_agrees(
    launch: Launcher, tmp_path: Path
) -> None:
    folder = project(tmp_path / "project", "ADDONS = {}")
    before = (folder / "shop/settings.py").read_text()

    ended = init(launch, folder)

    assert '+ADDONS = {"scrapy_mpworkers.Addon": 500}' in ended.out.splitlines()
    assert "nothing was changed" in ended.log
    assert ended.exit_code == 2
    assert (folder / "shop/settings.py").read_text() == before


def test_with_yes_it_writes_keeps_a_copy_and_the_crawl_has_workers(
    launch: Launcher, tmp_path: Path
) -> None:
    folder = project(tmp_path / "project", "ADDONS = {}")
    before = (folder / "shop/settings.py").read_text()

    ended = init(launch, folder, "--yes")
    again = init(launch, folder, "--yes")

    assert ended.exit_code == again.exit_code == 0
    assert (folder / "shop/settings.py.bak").read_text() == before
    assert "in ADDONS already" in again.out
    crawled = launch.scrapy("crawl", "things", cwd=folder, world=WORLD).finish()
    assert crawled.stats["mpworkers/items/done"] == 8


def test_what_it_refuses_comes_with_the_line_to_paste(launch: Launcher, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", "ADDONS = dict()")

    ended = init(launch, folder, "--yes")

    assert 'ADDONS = {"scrapy_mpworkers.Addon": 500}' in ended.log
    assert ended.exit_code == 2
    assert not list(folder.rglob("*.bak"))


@pytest.mark.parametrize("words", [("bogus",), ()], ids=str)
def test_an_unknown_word_is_named(launch: Launcher, tmp_path: Path, words: tuple[str]) -> None:
    ended = launch.scrapy("mpworkers", *words, cwd=tmp_path, world=WORLD).finish()

    assert f"there is no {''.join(words)!r}: say one of check, settings, init, replay" in ended.log
    assert ended.exit_code == 2
