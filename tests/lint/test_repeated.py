"""Lines of modules that should not run again in a worker are found, and no others."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scrapy_mpworkers.lint.repeated import inspect_module, module_lines, warn_of_modules

from . import settings

FOLDER = Path(settings.__file__).parent


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules, as if they had been imported."""
    made = {}
    for name in ("base", "guilty", "peaceful"):
        module = ModuleType(f"{settings.__name__}.{name}")
        module.__file__ = str(FOLDER / f"{name}.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        made[name] = module
    return made


def expected(*names: str) -> set[tuple[str, str]]:
    """(file:line, words) as the files themselves say."""
    return {
        (f"{name}.py:{number}", found[1])
        for name in names
        for number, line in enumerate((FOLDER / f"{name}.py").read_text().splitlines(), 1)
        if (found := re.search("# again: (.+)", line))
    }


def test_each_line_that_should_not_run_again_is_found(modules: dict[str, ModuleType]) -> None:
    found = inspect_module(modules["guilty"])

    told = {(Path(one.where).name, one.does) for one in found}
    assert {where for where, _ in told} == {where for where, _ in expected("base", "guilty")}
    for where, words in expected("base", "guilty"):
        assert any(one == where and words in does for one, does in told), (where, words)


def test_what_may_happen_in_each_worker_or_is_kept_from_it_is_left_in_peace(
    modules: dict[str, ModuleType],
) -> None:
    assert inspect_module(modules["peaceful"]) == []


def test_the_warning_says_which_line_why_and_the_way_out(
    modules: dict[str, ModuleType], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_modules({modules["base"].__name__: "The settings module"})

    [line] = [record.getMessage() for record in caplog.records]
    parts = "deletes", "shutil.rmtree(...)", "base.py:7", "replacements", "MPWORKERS_IN_WORKER"
    assert line.startswith(f"The settings module {modules['base'].__name__} deletes")
    assert all(part in line for part in parts)
    assert "\n" not in line


def test_of_a_module_that_is_not_imported_nothing_is_said() -> None:
    assert module_lines({"not.imported": "The settings module"}) == []


def test_one_that_cannot_be_read_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "built_in", ModuleType("built_in"))

    assert module_lines({"built_in": "The settings module"}) == []
