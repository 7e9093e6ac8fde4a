"""What a pipeline keeps by way of an object of another class of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from scrapy_mpworkers.lint.accesses import Spot
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Kind
from scrapy_mpworkers.lint.source import read_source
from scrapy_mpworkers.lint.state import State

#: Methods that are called without being named.
_SILENT = ("__call__", "__contains__", "__getitem__", "__setitem__", "__iadd__")


def kept_by_helpers(origins: Origins, state: State) -> dict[str, Kind]:
    """``self.helper.seen`` → what it is, for what the pipeline's items do with its helpers."""
    found: dict[str, Kind] = {}
    for name, assigned in origins.assignments.items():
        place = f"self.{name}"
        classes = {cls for value, function in assigned if (cls := _class_of(value, function))}
        if len(classes) == 1 and place not in state.kinds:
            kinds = _kinds_in(classes.pop(), place, state)
            found |= {f"{place}.{one[5:]}": kind for one, kind in kinds.items()}
    return found


def _kinds_in(cls: type, place: str, state: State) -> dict[str, Kind]:
    source = read_source(cls)
    at_item = {*_called(state.items, place), *_SILENT}
    inner = State(source, Origins(source), at_item, _called(state.closing, place))
    return {one: kind for one, kind in inner.kinds.items() if one.startswith("self.")}


def _called(spots: Iterable[Spot], place: str) -> set[str]:
    return {spot.method for spot in spots if spot.place == place and spot.method}


def _class_of(value: ast.expr, function: Function) -> type | None:
    """The class, if *value* makes an object of one of the project."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
        return None
    if function.is_local(value.func):
        return None
    live = function.module.live(value.func.id)
    return live if isinstance(live, type) else None
