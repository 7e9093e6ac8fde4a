"""Finds containers that pipelines fill for a reader behind the crawl, who will find them empty."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from scrapy_mpworkers.lint.accesses import Spot, Use
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.names import FunctionNode
from scrapy_mpworkers.lint.source import Source

_FILLING = frozenset({Use.AUGMENT, Use.COLLECT, Use.STORE})


def is_left(place: str, changes: Sequence[Spot], source: Source, origins: Origins) -> bool:
    """Tell whether somebody else can read, inline, a place that the pipeline only fills."""
    spot = changes[0]
    if any(one.use not in _FILLING for one in changes):
        return False
    if place.startswith("spider."):
        return spot.use is not Use.AUGMENT  # of which the worker warns when it happens
    if place.startswith("self."):
        return all(_is_of_class(one, source, origins) for one in changes)
    if place in spot.function.parameters:  # the default of one
        return False
    return not _is_read_by_others(place, spot.function, source)


def _is_of_class(spot: Spot, source: Source, origins: Origins) -> bool:
    name = spot.place[5:]
    assigned = origins.assignments.get(name, [])
    origin = origins.of_attribute(name) or ""
    if name not in source.class_values or len(assigned) > 1 or origin.startswith(known().fields):
        return False
    # self.n += 1 makes a number of the object; self.rows += [row] adds to the list of the class.
    return spot.use is not Use.AUGMENT or origin in known().containers or not _is_object(spot)


def _is_object(spot: Spot) -> bool:
    owner = getattr(spot.node, "value", None)
    is_name = isinstance(owner, ast.Name) and owner.id in spot.function.own_names
    return is_name and "classmethod" not in spot.function.decorators


def _is_read_by_others(place: str, function: Function, source: Source) -> bool:
    """Tell whether another pipeline of the module uses it: then both share a memory of items."""
    module = function.module
    for cls in module.tree.body:
        if isinstance(cls, ast.ClassDef) and cls.name not in source.class_names:
            nodes = [node for node in cls.body if isinstance(node, FunctionNode)]
            if any(node.name == "process_item" for node in nodes):
                methods = [Function(node.name, node, module, 0) for node in nodes]
                if any(_names(method, place) for method in methods):
                    return True
    return False


def _names(method: Function, place: str) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == place and not method.is_local(node)
        for node in method.nodes
    )
