"""Pipelines whose items mostly wait for others: a web service, a database, a queue."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import CRAWLER, SPIDER, Origins
from scrapy_mpworkers.lint.findings import Finding, Kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.state import ITEM_METHODS

#: Methods of answers and connections that do not wait, or not for long.
_BESIDE = frozenset({"close", "cursor", "decode", "json", "raise_for_status", "read", "rollback"})


def waiting(source: Source, origins: Origins) -> Finding | None:
    """Whether items mostly wait: they talk to the network and do nothing known to cost more."""
    calls: dict[Kind, set[str]] = {Kind.WAITS: set(), Kind.STORES: set()}
    awaited = False
    for call, function in _calls(source):
        origin = origins.of(call, function)
        kind = _kind(origin)
        if kind is not None:
            if getattr(call.func, "attr", "") not in _BESIDE:
                calls[kind].add(ast.unparse(call.func))
            awaited = awaited or _is_awaited(call, function)
        elif not _is_light(origin):
            return None
    if _is_of_sqlite(origins):
        calls[Kind.STORES].clear()
    for kind, names in calls.items():
        if names:
            return Finding(kind, tuple(sorted(names)), is_async=awaited)
    return None


def _is_of_sqlite(origins: Origins) -> bool:
    """Whether a database is named that is a file: ``create_engine("sqlite:///items.db")``."""
    return any(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("sqlite")
        for function in origins.functions
        for node in function.nodes
    )


def _calls(source: Source) -> Iterator[tuple[ast.Call, Function]]:
    for function in source.reachable(ITEM_METHODS):
        for node in function.nodes:
            if isinstance(node, ast.Call):
                yield node, function


def _kind(origin: str | None) -> Kind | None:
    if origin is None or origin.startswith(known().light_of_network):
        return None
    if re.fullmatch(r"[\w.]+\.[A-Z]\w*\(\)", origin):
        return None  # UpdateOne(...) is made, and waits for nobody
    root = origin.partition(".")[0].partition("(")[0]
    return (
        Kind.WAITS if root in known().network else Kind.STORES if root in known().stores else None
    )


def _is_light(origin: str | None) -> bool:
    """Of what is not known at all, most is the item's and the text's own methods."""
    if origin is None:
        return True
    path = origin.replace("()", "").replace("[]", "")
    root = path.partition(".")[0]
    if (
        hasattr(builtins, root)
        or root in (*known().light, CRAWLER, SPIDER)
        or path.startswith(known().light_of_network)
    ):
        return True
    return root in known().network | known().stores  # only their classes come to this


def _is_awaited(call: ast.Call, function: Function) -> bool:
    around = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    return any(isinstance(node, around) for node in function.ancestors(call))
