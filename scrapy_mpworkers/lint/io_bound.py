"""Finds pipelines whose items mostly wait for others: a web service, a database, a queue."""

from __future__ import annotations

import ast
import builtins
import re

from scrapy_mpworkers.lint.dataflow import CRAWLER, SPIDER, Origins
from scrapy_mpworkers.lint.findings import Finding, Kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.source import ITEM_METHODS
from scrapy_mpworkers.lint.syntax import find, text_of

#: Methods of answers and connections that do not wait, or not for long.
_BESIDE = frozenset({"close", "cursor", "decode", "json", "raise_for_status", "read", "rollback"})
_AWAITING = (ast.Await, ast.AsyncWith, ast.AsyncFor)


def waiting(origins: Origins) -> Finding | None:
    """Find out whether items mostly wait: talk to the network and do nothing that costs more."""
    calls: dict[Kind, set[str]] = {Kind.WAITS: set(), Kind.STORES: set()}
    awaited = False
    for function in origins.source.reachable(ITEM_METHODS):
        for call in find(function.nodes, ast.Call):
            origin = origins.of(call, function)
            kind = _kind(origin)
            if kind is not None:
                if getattr(call.func, "attr", "") not in _BESIDE:
                    calls[kind].add(ast.unparse(call.func))
                around = function.ancestors(call)
                awaited = awaited or any(isinstance(node, _AWAITING) for node in around)
            elif not _is_light(origin):
                return None
    if _is_of_sqlite(origins):
        calls[Kind.STORES].clear()
    for kind, names in calls.items():
        if names:
            return Finding(kind, tuple(sorted(names)), is_async=awaited)
    return None


def _is_of_sqlite(origins: Origins) -> bool:
    """Return whether a database is named that is a file: ``create_engine("sqlite:///…")``."""
    nodes = (node for function in origins.functions for node in function.nodes)
    return any(text_of(node).startswith("sqlite") for node in nodes)


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
    """Return whether it costs little; most of what is not known is methods of items and texts."""
    if origin is None:
        return True
    path = origin.replace("()", "").replace("[]", "")
    root = path.partition(".")[0]
    if hasattr(builtins, root) or root in (*known().light, CRAWLER, SPIDER):
        return True
    if path.startswith(known().light_of_network):
        return True
    return root in known().network | known().stores  # only their classes come to this
