"""What a pipeline does with each thing that outlives an item: attribute, global, default."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import SPIDER, Origins
from scrapy_mpworkers.lint.elsewhere import is_elsewhere
from scrapy_mpworkers.lint.source import Source

#: Methods by which containers take something in, and give something away.
_COLLECTING = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "update"}
)
#: Functions that put something into their first argument.
_PUSHING = frozenset(
    {"heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"}
)
_TAKING = frozenset({"discard", "pop", "popitem", "popleft", "remove", "get_nowait"})


class Use(Enum):
    """How a place is used at one spot."""

    ASSIGN = auto()  #: bound anew
    AUGMENT = auto()  #: ``self.x += 1``
    COLLECT = auto()  #: takes something in
    STORE = auto()  #: takes something in under a key: ``self.x[key] = value``
    ADVANCE = auto()  #: ``next(self.x)``
    TAKE = auto()  #: gives something away
    CLEAR = auto()
    MEMBER = auto()  #: ``key in self.x``
    LOOK_UP = auto()  #: ``self.x[key]``, ``self.x.get(key)``
    LENGTH = auto()
    CALL = auto()  #: another method of it
    READ = auto()  #: any other way


class Spot(NamedTuple):
    """One use of a place. ``node``: the place itself; ``top``: all that is done with it there."""

    place: str
    use: Use
    node: ast.AST
    top: ast.AST
    function: Function
    key: ast.expr | None = None
    value: ast.expr | None = None
    method: str = ""


def spots(functions: Iterable[Function], source: Source, origins: Origins) -> Iterator[Spot]:
    """Every use of a place in *functions*."""
    for function in functions:
        finder = _Finder(function, source, origins)
        for node in function.nodes:
            place = finder.place(node)
            if place is not None and not finder.is_alias(node):
                yield finder.spot(place, node)


class _Finder:
    def __init__(self, function: Function, source: Source, origins: Origins) -> None:
        self._function = function
        self._source = source
        self._origins = origins
        self._defaults = _mutable_defaults(function)
        self._aliases = {
            name: place
            for name, values in function.values.items()
            if len(values) == 1 and (place := self._outliving(values[0])) is not None
        }

    def place(self, node: ast.AST) -> str | None:
        """``self.x``, ``X`` for a global, or what a local stands for."""
        if isinstance(node, ast.Name) and node.id in self._aliases:
            return None if isinstance(node.ctx, ast.Store) else self._aliases[node.id]
        return self._outliving(node)

    def is_alias(self, node: ast.AST) -> bool:
        """Whether *node* is only given another name there."""
        parent = self._function.parents.get(node)
        return (
            isinstance(parent, (ast.Assign, ast.NamedExpr))
            and parent.value is node
            and self._aliases.get(getattr(_target(parent), "id", "")) is not None
        )

    def spot(self, place: str, node: ast.AST) -> Spot:
        """How *node* is used."""
        parents = self._function.parents
        top, is_keyed, key = node, False, None
        while isinstance(parent := parents.get(top), ast.Subscript) and parent.value is top:
            top, is_keyed = parent, True
            key = key or parent.slice
        if isinstance(parent, ast.Attribute) and parent.value is top:
            return self._member(place, node, parent, is_keyed, key)
        use, value = self._bare(top, is_keyed)
        return Spot(place, use, node, top, self._function, key, value)

    def _bare(self, top: ast.AST, is_keyed: bool) -> tuple[Use, ast.expr | None]:
        parent = self._function.parents.get(top)
        context = getattr(top, "ctx", None)
        if isinstance(context, ast.Del):
            return (Use.TAKE if is_keyed else Use.CLEAR), None
        if isinstance(context, ast.Store):
            value = getattr(parent, "value", None)
            if isinstance(parent, ast.AugAssign):
                return (Use.COLLECT if is_keyed else Use.AUGMENT), value
            return (Use.STORE if is_keyed else Use.ASSIGN), value
        if is_keyed:
            return Use.LOOK_UP, None
        if isinstance(parent, ast.Compare) and _is_searched(top, parent):
            return Use.MEMBER, None
        called = ast.unparse(parent.func) if isinstance(parent, ast.Call) else ""
        if called.rpartition(".")[2] in _PUSHING and parent.args[:1] == [top]:  # type: ignore[union-attr]
            return Use.COLLECT, None
        return {"len": Use.LENGTH, "next": Use.ADVANCE}.get(called, Use.READ), None

    def _member(
        self, place: str, node: ast.AST, member: ast.Attribute, is_keyed: bool, key: ast.expr | None
    ) -> Spot:
        call = self._function.parents.get(member)
        is_call = isinstance(call, ast.Call) and call.func is member
        args = call.args if isinstance(call, ast.Call) and is_call else []
        top = call if call is not None and is_call else member
        use = Use.LOOK_UP if is_keyed else Use.CALL if is_call else Use.READ
        value = args[-1] if args else None
        if not is_call and _is_stored_into(member, self._function.parents):
            use = Use.COLLECT  # a table's self.rows.loc[n] = row
        elif member.attr in _COLLECTING:
            use = Use.COLLECT
        elif member.attr == "setdefault" and not is_keyed:
            key, is_used = args[0] if args else None, _is_more_done(top, self._function.parents)
            use = Use.COLLECT if is_used else Use.STORE
        elif member.attr == "get" and is_call and args and not is_keyed:
            key, is_used = args[0], _is_more_done(top, self._function.parents)
            use = Use.COLLECT if is_used else Use.LOOK_UP
        elif member.attr in _TAKING:
            use = Use.TAKE
        elif member.attr == "clear":
            use = Use.CLEAR
        return Spot(place, use, node, top, self._function, key, value, member.attr)

    def _outliving(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Attribute) and self._source.is_own(node.value, self._function):
            return None if node.attr in self._source.methods else f"self.{node.attr}"
        if isinstance(node, ast.Attribute) and self._is_spider(node.value):
            return f"spider.{node.attr}"
        if isinstance(node, (ast.Attribute, ast.Name)) and is_elsewhere(node, self._function):
            return ast.unparse(node)
        if not isinstance(node, ast.Name):
            return None
        name = node.id
        if name in self._defaults and not self._function.is_inner(node):
            return name
        if name in self._function.module.values and not self._function.is_local(node):
            return name
        return None

    def _is_spider(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and self._origins.of(node, self._function) == SPIDER


def _mutable_defaults(function: Function) -> set[str]:
    args = function.node.args
    pairs = zip(reversed([*args.posonlyargs, *args.args]), reversed(args.defaults), strict=False)
    return {
        arg.arg
        for arg, value in pairs
        if isinstance(value, (ast.List, ast.Set, ast.Dict, ast.Call))
    }


def _target(node: ast.Assign | ast.NamedExpr) -> ast.expr:
    return node.targets[0] if isinstance(node, ast.Assign) else node.target


def _is_searched(node: ast.AST, test: ast.Compare) -> bool:
    pairs = zip(test.ops, test.comparators, strict=True)
    return any(one is node and isinstance(op, (ast.In, ast.NotIn)) for op, one in pairs)


def _is_stored_into(member: ast.Attribute, parents: dict[ast.AST, ast.AST]) -> bool:
    parent = parents.get(member)
    return isinstance(parent, ast.Subscript) and isinstance(parent.ctx, ast.Store)


def _is_more_done(call: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """``….setdefault(key, []).append(value)``."""
    parent = parents.get(call)
    member = parent.attr if isinstance(parent, ast.Attribute) else ""
    return member in _COLLECTING
