"""Attributes that every item begins with anew: ``self.item = item``, for the other methods."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from enum import Enum, auto

from scrapy_mpworkers.lint.accesses import Spot, Use
from scrapy_mpworkers.lint.code import GIVEN, Function
from scrapy_mpworkers.lint.source import Source


class _Met(Enum):
    """What comes first in a piece of code."""

    NOTHING = auto()
    ASSIGNED = auto()
    READ = auto()


def begins_anew(items: Sequence[Spot], source: Source) -> bool:
    """Whether one method binds the place before anything reads it, and the others are its own."""
    users = {id(spot.function.node): spot.function for spot in items}
    return any(_is_first(function, items, users, source) for function in users.values())


def is_built_as_a_whole(changes: Sequence[Spot], items: Sequence[Spot]) -> bool:
    """Whether one method, which is given nothing of an item, makes it and fills it."""
    makers = {id(spot.function.node): spot.function for spot in changes}
    function = next(iter(makers.values()))
    if len(makers) > 1 or set(function.parameters) - GIVEN:
        return False
    own = [spot for spot in items if spot.function.node is function.node]
    assigned = {spot.top for spot in own if spot.use is Use.ASSIGN}
    read = {spot.node for spot in own} - assigned
    return _of_all(function.node.body, assigned, read) is _Met.ASSIGNED


def _is_first(
    function: Function, items: Sequence[Spot], users: dict[int, Function], source: Source
) -> bool:
    own = [spot for spot in items if spot.function.node is function.node]
    assigned = {spot.top for spot in own if spot.use is Use.ASSIGN}
    read = {spot.node for spot in own} - assigned
    if _of_all(function.node.body, assigned, read) is not _Met.ASSIGNED:
        return False
    inside = source.reachable([function.name]) if function.owner is not None else []
    if not {id(one.node) for one in inside} >= users.keys():
        return False
    begin = min(node.lineno for node in assigned)  # type: ignore[attr-defined]
    return not _is_used_before(begin, function, users.values())


def _is_used_before(line: int, function: Function, users: Iterable[Function]) -> bool:
    """Whether a method that uses the place is called before that line."""
    names = {one.name for one in users} - {function.name}
    return any(
        isinstance(node, ast.Attribute) and node.lineno < line and node.attr in names
        for node in function.nodes
    )


def _of_all(body: Sequence[ast.stmt], assigned: set[ast.AST], read: set[ast.AST]) -> _Met:
    for statement in body:
        met = _of_one(statement, assigned, read)
        if met is not _Met.NOTHING:
            return met
    return _Met.NOTHING


def _of_one(statement: ast.stmt, assigned: set[ast.AST], read: set[ast.AST]) -> _Met:
    if isinstance(statement, ast.If):
        return _of_branches(statement, assigned, read)
    if isinstance(statement, (ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While, ast.Try)):
        head = [n for n in ast.iter_child_nodes(statement) if not isinstance(n, ast.stmt)]
        if any(not isinstance(n, ast.ExceptHandler) and _has(n, read) for n in head):
            return _Met.READ
        return _of_all(statement.body, assigned, read)
    if _has(statement, read):
        return _Met.READ
    return _Met.ASSIGNED if _has(statement, assigned) else _Met.NOTHING


def _of_branches(statement: ast.If, assigned: set[ast.AST], read: set[ast.AST]) -> _Met:
    if _has(statement.test, read):
        return _Met.READ
    met = _of_all(statement.body, assigned, read), _of_all(statement.orelse, assigned, read)
    if _Met.READ in met:
        return _Met.READ
    # One branch may assign and the other leave; an if without else is taken at its word only if
    # all that is done with the place is done inside.
    leaves = _leaves(statement.body), _leaves(statement.orelse)
    settled = [one is _Met.ASSIGNED or left for one, left in zip(met, leaves, strict=True)]
    is_all = all(_has(statement, {node}) for node in read)
    return _Met.ASSIGNED if _Met.ASSIGNED in met and (all(settled) or is_all) else _Met.NOTHING


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue))


def _has(tree: ast.AST, nodes: set[ast.AST]) -> bool:
    return any(node in nodes for node in ast.walk(tree))
