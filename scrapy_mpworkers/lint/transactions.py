"""Writes that are only committed when the pipeline is closed: till then its worker holds them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.state import CLOSE_METHODS, ITEM_METHODS, OPEN_METHODS

_WRITING = frozenset({"add", "execute", "executemany", "merge", "add_all", "bulk_insert_mappings"})
_AT_ONCE = ("autocommit", "isolation_level", "begin")


def committed_at_close(source: Source, origins: Origins) -> set[str]:
    """Attributes whose ``commit`` is called in ``close_spider``, and not before."""
    at_item = source.reachable(ITEM_METHODS)
    calls = {name for name, _ in _calls(at_item, origins)}
    if not calls & _WRITING or "commit" in calls or _commits_at_once(source):
        return set()
    at_close = _calls(source.reachable(CLOSE_METHODS), origins)
    return {f"self.{owner}" for name, owner in at_close if name == "commit" and owner}


def _calls(functions: list[Function], origins: Origins) -> Iterator[tuple[str, str]]:
    """(method, attribute of the pipeline that it is called on)."""
    for function in functions:
        for node in function.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                is_own = isinstance(owner, ast.Attribute) and origins.is_own(owner.value, function)
                yield node.func.attr, owner.attr if is_own else ""  # type: ignore[attr-defined]


def _commits_at_once(source: Source) -> bool:
    functions = source.reachable([*OPEN_METHODS, *ITEM_METHODS])
    words = {
        getattr(node, "arg", None) or getattr(node, "attr", None)
        for function in functions
        for node in function.nodes
    }
    return bool(words & set(_AT_ONCE))
