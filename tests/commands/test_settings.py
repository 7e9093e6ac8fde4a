"""``scrapy mpworkers settings``: what a crawl would get, where from, what each setting does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from projects import make_project
from scrapy import Spider
from scrapy.settings import BaseSettings, Settings

from scrapy_mpworkers.commands.settings import InEffect, Row, in_effect, text
from scrapy_mpworkers.settings.names import OWN, all_settings

REFERENCE = Path(__file__).parents[2] / "docs/reference.md"
SPIDERS = """
    import scrapy

    class Books(scrapy.Spider):
        name = "books"
        custom_settings = {"MPWORKERS_ITEM_TIMEOUT": 30}
"""


class SetsNice:
    def update_settings(self, settings: BaseSettings) -> None:
        settings.set("MPWORKERS_NICE", 9, "addon")


class Breaks:
    def update_settings(self, settings: BaseSettings) -> None:
        raise RuntimeError("not today")


def found(**settings: Any) -> InEffect:
    addons = settings.pop("ADDONS", {})
    given = {"ADDONS": {"scrapy_mpworkers.Addon": 500} | addons, "MPWORKERS_WORKERS": 2} | settings
    project = Settings()
    project.setdict(given, "project")
    return in_effect(project, Spider)


def row(of: InEffect, name: str) -> Row:
    [one] = [one for one in of.rows if one.setting.title == f"MPWORKERS_{name}"]
    return one


def run(cwd: Path, *words: str, width: int = 80) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scrapy", "mpworkers", "settings", *words]
    env = os.environ | {"COLUMNS": str(width)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_the_example_of_the_docs_is_what_it_prints(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project", {"shop/spiders.py": SPIDERS})

    ended = run(folder, "--changed", "-s", "MPWORKERS_NICE=high", "-s", "MPWORKERS_WORKER=3")

    assert f"```\n{ended.stdout}```\n" in REFERENCE.read_text("utf-8"), ended.stdout
    assert (ended.returncode, ended.stderr) == (1, "")


def test_outside_a_project_it_shows_the_defaults_and_the_command_line(tmp_path: Path) -> None:
    ended = run(tmp_path, "-s", "MPWORKERS_PAGE_HOST=::1")

    assert "MPWORKERS_NICE = 5 (default)" in ended.stdout
    assert "MPWORKERS_PAGE_HOST = '::1' (command line; default: '127.0.0.1')" in ended.stdout
    assert (ended.returncode, ended.stderr) == (0, "")


def test_wrong_use_exits_with_2(tmp_path: Path) -> None:
    assert run(tmp_path, "books").returncode == 2


def test_each_setting_has_its_value_its_origin_and_its_sentence() -> None:
    printed = text(found(), "ours", only_changed=False)

    for setting in all_settings():
        assert f"\n{setting.title} = " in printed
    assert len(printed.splitlines()) > 3 * len(OWN)
    assert "`" not in printed
    assert "](" not in printed


def test_an_add_on_is_told_from_a_settings_module() -> None:
    effect = found(ADDONS={"commands.test_settings.SetsNice": 1})

    assert (row(effect, "NICE").value, row(effect, "NICE").origin) == (9, "add-on")
    assert row(effect, "WORKERS").origin == "settings module"
    assert row(effect, "PAGE").origin == "default"


@pytest.mark.parametrize(("value", "is_changed"), [("5", False), (5.0, True), ("6", True)])
def test_what_is_changed_is_judged_by_the_value_in_use(value: Any, is_changed: bool) -> None:
    assert row(found(MPWORKERS_NICE=value), "NICE").is_changed == is_changed


def test_what_is_automatic_says_what_it_comes_to() -> None:
    effect = found(MPWORKERS_WORKERS="auto")

    assert row(effect, "WORKERS").here >= 1
    assert row(effect, "RESTART_INTENSITY").here >= 12
    assert row(effect, "START_METHOD").here in ("forkserver", "spawn")
    assert row(effect, "MAX_PENDING").here is None
    assert row(effect, "CALLBACKS").here is None


def test_a_level_with_its_own_value_is_named() -> None:
    pipelines = {"scrapy_mpworkers.batches.BatchMixin": 300}
    level = {"name": "store", "pipelines": pipelines, "workers": 1}
    effect = found(MPWORKERS_LEVELS=[level])

    assert row(effect, "WORKERS").in_levels == (("store", 1),)
    assert row(effect, "NICE").in_levels == ()
    assert "Levels with a value of their own: 1 in store." in text(effect, "ours", True)


def test_a_wrong_value_has_the_sentence_of_a_crawl_once() -> None:
    effect = found(MPWORKERS_NICE=70)

    assert effect.refusals == ["MPWORKERS_NICE is 70, but it must be a whole number from 0 to 19."]
    assert text(effect, "ours", True).endswith("2 of 26, would stop a crawl: 1.")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"MPWORKERS_JOURNAL": True}, "JOBDIR is not set"),
        ({"ADDONS": {"commands.test_settings.Breaks": 1}}, "RuntimeError: not today"),
        ({"MPWORKERS_LEVELS": [{"name": "a", "work": 1}]}, "Did you mean 'workers'?"),
    ],
)
def test_what_stops_a_crawl_beside_single_values_comes_last(
    settings: dict[str, Any], sentence: str
) -> None:
    effect = found(**settings)

    assert sentence in effect.general
    assert "A crawl would stop: " in text(effect, "ours", True)


def test_names_without_effect_are_said() -> None:
    effect = found(MPWORKERS_WORKER=3, MPWORKERS_DASK_ADDRESS="tls://me:secret@host:8786")
    printed = text(effect, "ours", True)

    assert "Did you mean MPWORKERS_WORKERS?" in printed
    assert "MPWORKERS_DASK_ADDRESS has no effect" in printed
    assert "secret" not in printed


def test_settings_that_nobody_reads_are_said() -> None:
    project = Settings()
    project.setdict({"MPWORKERS_PIPELINES": {"shop.pipelines.Price": 300}}, "project")

    printed = text(in_effect(project, Spider), "ours", True)

    assert "scrapy_mpworkers.Addon is not active" in " ".join(printed.split())


@pytest.mark.parametrize("address", ["tls://me:secret@host", "tls://me:pa@secret@host:8786"])
def test_no_password_is_printed_though_the_address_is_refused(address: str) -> None:
    effect = found(MPWORKERS_DASK_ADDRESS=address, MPWORKERS_BACKEND="dask")

    printed = text(effect, "ours", False)

    assert "MPWORKERS_DASK_ADDRESS" in printed
    assert "secret" not in printed


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    pipelines = {f"shop.pipelines.Number{n}": n for n in range(20)}
    effect = found(MPWORKERS_PIPELINES=pipelines, MPWORKERS_NICE=70, MPWORKERS_WORKER=3)

    lines = text(effect, "ours", only_changed=False).splitlines()

    assert max(map(len, lines)) <= min(width, 100)
    assert indent("(settings module; default: {})", "    ") in lines
