"""Finds state of modules and classes that was changed after their import, by a script for one.

A worker imports the module anew and has what the module itself sets, so such a change is not there.
Only names that a literal is assigned to are looked at: any other value may differ from process to
process by itself.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from scrapy_mpworkers.lint.code import parsed
from scrapy_mpworkers.lint.project import is_a
from scrapy_mpworkers.lint.syntax import assigned_names, find, last_name
from scrapy_mpworkers.wire.entries import MAINS

_MISSING = object()

#: Methods that change a builtin container. State that its own module changes so is a cache or a
#: registry, and no configuration.
_MUTATORS = frozenset(
    ("add", "append", "appendleft", "clear", "extend", "insert")
    + ("pop", "popitem", "remove", "setdefault", "update")
)


def changed_state(
    classes: Iterable[type], modules: Iterable[str], settings_module: str | None = None
) -> list[str]:
    """List the paths of what was changed, such as ``shop.pipelines.CONFIG``.

    Args:
        classes: whose attributes are looked at.
        modules: names of modules; those of the same package that they have imported count too.
        settings_module: runs in workers as well, so what its code changes is changed there.
    """
    looked_at = _with_neighbours(modules)
    trees = [_tree(module) for module in looked_at | _with_neighbours([settings_module or ""])]
    own = set[str]().union(*map(_changed_by_code, trees))
    found: set[str] = set()
    for module in looked_at:
        found.update(_changed(module.__name__, _tree(module).body, vars(module), own))
    for cls in classes:
        home = sys.modules.get(cls.__module__)
        if home is None or cls.__module__ in MAINS or type(cls) is not type:
            continue
        for node in find(_tree(home).body, ast.ClassDef):
            if node.name == cls.__qualname__:
                path = f"{cls.__module__}.{cls.__qualname__}"
                found.update(_changed(path, node.body, vars(cls), own))
    return sorted(found)


def _with_neighbours(names: Iterable[str]) -> dict[ModuleType, None]:
    """List modules that this process has imported, each with those of its package that it uses."""
    found: dict[ModuleType, None] = {}
    for name in names:
        module = sys.modules.get(name)
        if module is None or name in MAINS:
            continue
        found[module] = None
        package = name.partition(".")[0]
        for value in list(vars(module).values()):
            if is_a(value, ModuleType) and value.__name__.partition(".")[0] == package:
                found[value] = None
    return found


def _changed(
    path: str, body: list[ast.stmt], live: Mapping[str, Any], own: set[str]
) -> Iterator[str]:
    literals: dict[str, Any] = {}
    for name, value in assigned_names(find(body, (ast.Assign, ast.AnnAssign))):
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            literals[name] = ast.literal_eval(value)
    for name, literal in literals.items():
        if name not in own and _differs(live.get(name, _MISSING), literal):
            yield f"{path}.{name}"


def _tree(module: ModuleType) -> ast.Module:
    return parsed(vars(module).get("__file__"), module.__name__).tree


def _changed_by_code(tree: ast.Module) -> set[str]:
    """Collect the names that a module's code assigns twice or changes: workers run it as well."""
    stored: Counter[str] = Counter()
    changed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            changed.update(node.names)
        elif isinstance(node, ast.AugAssign):
            changed.add(last_name(node.target))
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load):
                changed.add(last_name(node.value if isinstance(node, ast.Subscript) else node))
            elif getattr(node, "attr", "") in _MUTATORS:
                changed.add(last_name(node.value))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            stored[node.id] += 1
    return changed | {name for name, times in stored.items() if times > 1}


def _differs(value: Any, literal: Any) -> bool:
    try:
        return type(value) is not type(literal) or bool(value != literal)
    except Exception:  # of a comparison by code of the user
        return False
