"""What the tests of the guides share: which packages they need, which sections they run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

INLINE: dict[str, Any] = {"MPWORKERS_ENABLED": False}


def needs(*packages: str) -> None:
    """Skip the test where a package of the extra ``guides`` is missing; in ``.ci/guides`` fail."""
    if missing := [package for package in packages if find_spec(package) is None]:
        end = pytest.fail if "GUIDES_REQUIRED" in os.environ else pytest.skip
        end(f"without {', '.join(missing)} of the extra 'guides': pip install -e '.[guides]'")


def texts_of_tests(*modules: Path) -> Iterator[str]:
    """Each text in the tests of these modules: the headings whose code they run are among them."""
    for module in modules:
        for function in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for node in ast.walk(function):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        yield node.value


def by_url(ended: Any) -> list[dict[str, Any]]:
    return sorted(ended.items, key=lambda item: item["url"])
