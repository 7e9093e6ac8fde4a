"""State that a script has changed after the import of a module is found; what modules do to
themselves is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from scrapy_mpworkers.lint import changed_state

MODULE = """
    import time
    from changing import neighbour

    CONFIG = {}
    RATES = {"EUR": 1}
    TOKEN = None
    LIMIT: int = 5
    STARTED = time.time()
    HANDLERS = {}
    LATEST = 0
    SEEN = []

    def handler(function):
        HANDLERS[function.__name__] = function
        return function

    @handler
    def price(): ...

    def remember(n):
        global LATEST
        LATEST = n
        SEEN.append(n)

    def rate():
        return CONFIG["rate"] + RATES["EUR"]

    class Price:
        currency = "EUR"
        rates = [1]
        count = 0

        def process_item(self, item):
            type(self).count += 1
            return item
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    package = tmp_path / "changing"
    package.mkdir()
    for name, text in {"__init__": "", "neighbour": "DEPTH = 1\n", "shop": MODULE}.items():
        (package / f"{name}.py").write_text(dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("changing.shop")
    for name in [name for name in sys.modules if name.partition(".")[0] == "changing"]:
        del sys.modules[name]


def found(module: ModuleType) -> list[str]:
    return changed_state([module.Price], [module.__name__])


CHANGES: dict[str, Callable[[ModuleType], object]] = {
    "shop.CONFIG": lambda shop: shop.CONFIG.update(rate=2),
    "shop.RATES": lambda shop: setattr(shop, "RATES", {"EUR": 2}),
    "shop.TOKEN": lambda shop: setattr(shop, "TOKEN", "secret"),
    "shop.LIMIT": lambda shop: setattr(shop, "LIMIT", 5.0),
    "shop.Price.currency": lambda shop: setattr(shop.Price, "currency", "USD"),
    "shop.Price.rates": lambda shop: shop.Price.rates.append(2),
    "neighbour.DEPTH": lambda shop: setattr(shop.neighbour, "DEPTH", 2),
}


@pytest.mark.parametrize("path", CHANGES)
def test_what_a_script_changes_is_found(module: ModuleType, path: str) -> None:
    assert found(module) == []

    CHANGES[path](module)

    assert found(module) == [f"changing.{path}"]


def test_what_the_module_does_to_itself_is_not(module: ModuleType) -> None:
    module.remember(3)
    module.Price().process_item({})

    assert found(module) == []
    assert module.HANDLERS and module.LATEST and module.SEEN and module.Price.count


def test_a_module_that_nobody_has_imported_is_not_imported() -> None:
    assert changed_state([], ["changing.shop", "__main__"]) == []
    assert "changing" not in sys.modules


def test_what_the_settings_module_changes_is_changed_in_workers_too(module: ModuleType) -> None:
    module.CONFIG["rate"] = 2
    settings = ModuleType("changing_settings")
    settings.__file__ = str(Path(module.__file__ or "").with_name("settings.py"))
    Path(settings.__file__).write_text("import changing.shop\nchanging.shop.CONFIG['rate'] = 2\n")
    sys.modules["changing.settings"] = settings

    assert changed_state([], [module.__name__], "changing.settings") == []
    assert changed_state([], [module.__name__]) == ["changing.shop.CONFIG"]
