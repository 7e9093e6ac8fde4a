"""Finds containers that pipelines fill for a reader behind the crawl, who would find them empty."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from scrapy_mpworkers.lint.accesses import Access, AccessKind
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import FunctionNode, find

_FILLING = frozenset({AccessKind.AUGMENT, AccessKind.COLLECT, AccessKind.STORE})


def is_lost_result(target: str, changes: Sequence[Access], origins: Origins) -> bool:
    """Return whether somebody else can read, inline, a target that the pipeline only fills."""
    access = changes[0]
    if any(one.kind not in _FILLING for one in changes):
        return False
    if target.startswith("spider."):
        return access.kind is not AccessKind.AUGMENT  # of which the worker warns when it happens
    if target.startswith("self."):
        return all(_is_of_class(one, origins) for one in changes)
    if target in access.function.parameters:  # the default of one
        return False
    return not _is_read_by_others(target, access.function, origins.source)


def _is_of_class(access: Access, origins: Origins) -> bool:
    name = access.target[5:]
    assigned = origins.assignments.get(name, [])
    origin = origins.of_attribute(name) or ""
    if (
        name not in origins.source.class_values
        or len(assigned) > 1
        or origin.startswith(known().fields)
    ):
        return False
    # self.n += 1 makes a number of the object; self.rows += [row] adds to the list of the class.
    return (
        access.kind is not AccessKind.AUGMENT
        or origin in known().containers
        or not _is_object(access)
    )


def _is_object(access: Access) -> bool:
    owner = getattr(access.node, "value", None)
    is_name = isinstance(owner, ast.Name) and owner.id in access.function.own_names
    return is_name and "classmethod" not in access.function.decorators


def _is_read_by_others(target: str, function: Function, source: Source) -> bool:
    """Return whether another pipeline of the module uses it: both share a memory of items then."""
    module = function.module
    for cls in find(module.tree.body, ast.ClassDef, lambda one: one.name not in source.class_names):
        nodes = [node for node in cls.body if isinstance(node, FunctionNode)]
        if any(node.name == "process_item" for node in nodes):
            methods = (Function(node.name, node, module, 0) for node in nodes)
            if any(_names(method, target) for method in methods):
                return True
    return False


def _names(method: Function, target: str) -> bool:
    names = find(method.nodes, ast.Name, lambda node: node.id == target)
    return not all(map(method.is_local, names))
