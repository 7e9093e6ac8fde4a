"""Finds containers and numbers of other classes and modules of the project in pipelines."""

from __future__ import annotations

import ast
from collections import deque
from types import ModuleType
from typing import Any

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.names import assigned_names
from scrapy_mpworkers.lint.project import is_a, is_same_project

_CONTAINERS = (list, dict, set, deque, bytearray)  # and what derives from them


def is_elsewhere(node: ast.Attribute | ast.Name, function: Function) -> bool:
    """Tell whether *node* is a container or number of another module or class of the project."""
    if isinstance(node, ast.Name):
        return _is_imported(node, function) and _is_kept(function.live(node))
    owner = node.value
    if isinstance(owner, ast.Name) and _is_class_here(owner, function):
        return node.attr in _values_of_class(owner.id, function)
    home = function.live(owner)
    if is_a(home, ModuleType):
        is_own = is_same_project(home.__name__, function.module.name)
    else:
        is_own = is_a(home, type) and function.module.own(home) is not None
    return is_own and _is_kept(vars(home).get(node.attr))


def _is_imported(node: ast.Name, function: Function) -> bool:
    path = function.imports.get(node.id) or function.module.imports.get(node.id) or ""
    root = path.partition(".")[0]
    return bool(path) and (not root or is_same_project(root, function.module.name))


def _is_class_here(node: ast.Name, function: Function) -> bool:
    return node.id in function.module.classes and not function.is_local(node)


def _values_of_class(name: str, function: Function) -> set[str]:
    return {
        value
        for cls in function.module.tree.body
        if isinstance(cls, ast.ClassDef) and cls.name == name
        for value, _ in assigned_names(cls.body)
    }


def _is_kept(value: Any) -> bool:
    return is_a(value, *_CONTAINERS, int, float)
