"""What the package uses of others that is private: all of it is in the tables, and is there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scrapy_mpworkers"

#: Names with an underscore that Python documents.
DOCUMENTED = {"_current_frames", "_fields", "_value_"}
#: Names that are set and read through ``abc``, or are the ends of names that are put together.
NO_ATTRIBUTES = {"_abc_impl", "_cached_", "_frame"}
#: Names that Scrapy puts together as it runs, and that not every version has.
NOT_LOOKED_FOR = {"_cached_get_stats", "_fork_intent"}

#: Modules of multiprocessing that its documentation leaves out.
UNDOCUMENTED = re.compile(
    r"multiprocessing\.(context|forkserver|popen_\w+|process|reduction|resource_tracker|spawn|util)"
)

ROW = re.compile(r"^\| `([\w.]+)\.(\w+)`(.*?) \| (.+?) \|", re.MULTILINE)


class Part(NamedTuple):
    """A private name, who has it, and the modules that use it."""

    owner: str
    name: str
    modules: frozenset[str]


def _table() -> Iterator[Part]:
    text = (ROOT / "docs" / "private-parts.md").read_text("utf-8")
    for owner, first, others, where in ROW.findall(text):
        for name in [first, *re.findall(r"`(\w+)`", others)]:
            yield Part(owner, name, frozenset(re.findall(r"`([\w/]+\.py)`", where)))


TABLE = list(_table())


class _Names(ast.NodeVisitor):
    """Private names that a module defines, and those that it uses as attributes or by name."""

    def __init__(self) -> None:
        self.defined: set[str] = set()
        self.used: set[str] = set()
        self.undocumented: set[str] = set()
        self._modules: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._modules |= {
            one.name for one in node.names if UNDOCUMENTED.match(f"{node.module}.{one.name}")
        }

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        is_own = name in ("self", "cls")
        if name in self._modules:
            self.undocumented.add(node.attr)
        stored = isinstance(node.ctx, ast.Store) and is_own
        (self.defined if stored else self.used).add(node.attr)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value.isidentifier():
            self.used.add(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.defined.add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.defined.add(node.name)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef


@cache
def _names() -> dict[str, _Names]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        names = found[path.relative_to(PACKAGE).as_posix()] = _Names()
        names.visit(ast.parse(path.read_text("utf-8")))
    return found


def test_every_private_part_of_others_is_in_the_table() -> None:
    modules = _names()
    ours = set().union(*(names.defined for names in modules.values()))
    ours |= DOCUMENTED | NO_ATTRIBUTES
    foreign = {
        (name, module)
        for module, names in modules.items()
        for name in names.used - ours
        if re.match(r"_(?!_)", name) and "mpworkers" not in name.lower()
    }
    foreign |= {(name, module) for module, one in modules.items() for name in one.undocumented}
    assert foreign <= {(part.name, module) for part in TABLE for module in part.modules}


@pytest.mark.parametrize("part", TABLE, ids=lambda part: f"{part.owner}.{part.name}")
def test_the_modules_of_the_table_use_it(part: Part) -> None:
    modules = _names()
    users = {module for module, names in modules.items() if part.name in names.used}
    assert users & part.modules
    rows = {other.name for other in TABLE if other.modules == part.modules}
    assert all(modules[module].used & rows for module in part.modules)


def _found(path: str) -> Any:
    """The module or class of a dotted path."""
    for end in range(path.count(".") + 1, 0, -1):
        names = path.split(".")
        try:
            found: Any = importlib.import_module(".".join(names[:end]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, names[end:], found)
    raise ModuleNotFoundError(path)


@pytest.mark.parametrize("part", TABLE, ids=lambda part: f"{part.owner}.{part.name}")
def test_the_running_version_has_it(part: Part) -> None:
    owner = _found(part.owner)
    if hasattr(owner, part.name) or part.name in NOT_LOOKED_FOR:
        return
    sources = [inspect.getsource(cls) for cls in owner.__mro__ if cls.__module__ != "builtins"]
    assert any(re.search(rf"\b{part.name}\b", source) for source in sources)
