"""Small questions about one use of a place."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from scrapy_mpworkers.lint.accesses import Spot, Use

_CLOSING = frozenset(
    {"aclose", "close", "disconnect", "finish_exporting", "quit", "shutdown", "stop", "terminate"}
)


def only_closes(spot: Spot) -> bool:
    """Whether the end merely closes what is there: ``for one in self.x.values(): one.close()``."""
    member = spot.function.parents.get(spot.top)
    if isinstance(member, ast.Attribute) and member.attr in _CLOSING:
        return True
    for node in spot.function.ancestors(spot.node):
        if isinstance(node, (ast.For, ast.AsyncFor)):
            is_iterated = spot.node in ast.walk(node.iter)
            calls = [
                one for part in node.body for one in ast.walk(part) if isinstance(one, ast.Call)
            ]
            return is_iterated and all(getattr(c.func, "attr", "") in _CLOSING for c in calls)
    return False


def is_default(value: ast.expr, place: ast.AST) -> bool:
    """``self.x = self.x or …``: it stays what it is, once it is anything."""
    is_or = isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or)
    return is_or and ast.unparse(value.values[0]) == ast.unparse(place)  # type: ignore[attr-defined]


def answers(change: Spot) -> bool:
    """Whether the change gives back what was there: ``next(self.x)``, ``self.x.setdefault(…)``."""
    is_alone = isinstance(change.function.parents.get(change.top), ast.Expr)
    is_default = change.method == "setdefault" and change.use is Use.STORE
    return change.use is Use.ADVANCE or (is_default and not is_alone)


def appends(spot: Spot) -> bool:
    return spot.method in ("append", "appendleft", "extend") or spot.use is Use.STORE


def empties(spot: Spot) -> bool:
    is_bound = spot.use is Use.ASSIGN and isinstance(
        spot.value, (ast.List, ast.Dict, ast.Set, ast.Call)
    )
    return spot.use is Use.CLEAR or is_bound


def seen(closing: Iterable[Spot]) -> bool:
    return any(spot.use not in (Use.CLEAR, Use.ASSIGN) for spot in closing)


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
