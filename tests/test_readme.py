"""The README's commands are those that CI runs, and its settings exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scrapy_mpworkers
from scrapy_mpworkers import errors
from scrapy_mpworkers.settings import known_names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("ending", ["pytest", "demo.py"])
def test_ci_runs_the_commands_of_the_readme(ending: str) -> None:
    command = next(line for line in README.splitlines() if line.endswith(ending))

    assert command in (ROOT / ".ci/run").read_text().splitlines()


def test_the_readme_is_about_a_hundred_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_every_setting_of_the_docs_is_known_to_the_code() -> None:
    text = README + (ROOT / "docs/reference.md").read_text()

    named = set(re.findall(r"`MPWORKERS_([A-Z_]+)[` ]", text))

    assert {f"MPWORKERS_{name}" for name in named} == known_names().keys()


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    directives = set(re.findall(r"^::: scrapy_mpworkers\.([\w.]+)$", page, re.MULTILINE))
    of_errors = set(vars(errors)) if "errors" in directives else set()

    assert set(scrapy_mpworkers.__all__) - of_errors <= directives
