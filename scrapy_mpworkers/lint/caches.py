"""Tells a cache, whose values are computed again where it lacks them, from a memory of items."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from scrapy_mpworkers.lint.accesses import Spot, Use
from scrapy_mpworkers.lint.code import Function, mentions

#: How an item is called: to share it tells nothing of what is done with it.
_ITEMS = frozenset({"item", "adapter", "data", "row"})
_ALLOWED = frozenset({Use.MEMBER, Use.LOOK_UP, Use.LENGTH, Use.CLEAR, Use.STORE, Use.TAKE})


def is_memo(changes: Sequence[Spot], items: Sequence[Spot]) -> bool:
    """Whether every change fills in, under its key, what was missing and can be computed again."""
    if any(spot.use is not Use.STORE for spot in changes):
        return False
    if any(spot.use not in _ALLOWED for spot in items if not _is_reset(spot)):
        return False
    filled = all(_is_computed(spot) and _is_asked_for(spot, items) for spot in changes)
    return filled and not any(_decides(spot) for spot in items)


def _is_reset(spot: Spot) -> bool:
    return spot.use is Use.ASSIGN


def _is_computed(spot: Spot) -> bool:
    """``self.x[key] = f(key)``, also by way of locals."""
    value = _resolved(spot.value, spot.function)
    if spot.key is None or value is None or mentions(value, spot.node):
        return False
    if isinstance(value, ast.Subscript) and _is_member(value.value, spot.function):
        return ast.unparse(value.slice) == ast.unparse(spot.key)  # self.db[name]
    calls = [node for node in ast.walk(value) if isinstance(node, ast.Call)]
    if calls and any(word in spot.place.lower() for word in ("cache", "memo")):
        return True
    return any(
        _is_given(call, spot.key, spot.function) or _asks_a_member(call, spot.function)
        for call in calls
    )


def _is_given(call: ast.Call, key: ast.expr, function: Function) -> bool:
    """Whether the call is given the key, or what the key is made of."""
    given = [*call.args, *(one.value for one in call.keywords)]
    if any(ast.unparse(key) in ast.unparse(one) for one in given):
        return True
    made_of = _resolved(key, function)
    parts = {n.id for n in ast.walk(made_of) if isinstance(n, ast.Name)} if made_of else set()
    used = {n.id for one in given for n in ast.walk(one) if isinstance(n, ast.Name)}
    return bool((parts - _ITEMS - function.own_names) & used)


def _asks_a_member(call: ast.Call, function: Function) -> bool:
    """``self.cursor.fetchone()``."""
    return isinstance(call.func, ast.Attribute) and _is_member(call.func.value, function)


def _is_member(node: ast.expr, function: Function) -> bool:
    """``self.cursor``."""
    root = node.value if isinstance(node, ast.Attribute) else None
    return isinstance(root, ast.Name) and root.id in function.own_names


def _is_asked_for(change: Spot, items: Sequence[Spot]) -> bool:
    """Whether the place is filled only where it was looked into before: ``if key not in it``."""
    if change.method == "setdefault":
        return True
    function = change.function
    asking = [
        spot
        for spot in items
        if spot.function.node is function.node and spot.use in (Use.MEMBER, Use.LOOK_UP)
    ]
    around = list(function.ancestors(change.node))
    if any(isinstance(node, (ast.If, ast.ExceptHandler)) for node in around) and asking:
        return True
    return any(_returns_at(spot) for spot in asking)


def _returns_at(spot: Spot) -> bool:
    """``if key in self.x: return self.x[key]``."""
    for node in spot.function.ancestors(spot.node):
        if isinstance(node, ast.If):
            return any(isinstance(one, ast.Return) for one in node.body)
    return False


def _decides(spot: Spot) -> bool:
    """Whether an item's fate hangs on what is there: ``if key in self.x: raise DropItem``."""
    if spot.use not in (Use.MEMBER, Use.LOOK_UP):
        return False
    before: ast.AST = spot.node
    for node in spot.function.ancestors(spot.node):
        if isinstance(node, ast.If) and node.test is before:
            inside = (one for part in node.body for one in ast.walk(part))
            if any(isinstance(one, ast.Raise) for one in inside):
                return True
        before = node
    return False


def _resolved(value: ast.expr | None, function: Function) -> ast.expr | None:
    if isinstance(value, ast.Name):
        computed = [one for one in function.values.get(value.id, []) if _has_call(one)]
        return computed[-1] if computed else None
    return value


def _has_call(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Call) for one in ast.walk(node))
