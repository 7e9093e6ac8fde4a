"""Finds what a pipeline does with all that outlives an item: attributes, globals, defaults.

Each such target has a name as in the source: ``self.x``, ``spider.x``, ``X``, ``helpers.X``.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from types import ModuleType
from typing import Any, NamedTuple

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import SPIDER, Origins
from scrapy_mpworkers.lint.project import is_a, is_same_project
from scrapy_mpworkers.lint.syntax import assigned_names, bindings, find

#: Methods of all that is closed at the end.
_CLOSING = frozenset(
    {"aclose", "close", "disconnect", "finish_exporting", "quit", "shutdown", "stop", "terminate"}
)
_CONTAINERS = (list, dict, set, deque, bytearray)  # and what derives from them
#: Methods by which containers take something in, and give something away.
_COLLECTING = ("add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "update")
#: Functions that put something into their first argument.
_PUSHING = frozenset(
    {"heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"}
)
_TAKING = ("discard", "pop", "popitem", "popleft", "remove", "get_nowait")


class AccessKind(Enum):
    """Says how a target is used at one spot."""

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


_KIND_OF_METHOD = {
    **dict.fromkeys(_COLLECTING, AccessKind.COLLECT),
    **dict.fromkeys(_TAKING, AccessKind.TAKE),
    "clear": AccessKind.CLEAR,
}
_KIND_OF_CALL = {"len": AccessKind.LENGTH, "next": AccessKind.ADVANCE}


class Access(NamedTuple):
    """Describes one use of a target."""

    target: str
    kind: AccessKind
    node: ast.AST  #: the target itself
    top: ast.AST  #: the expression of all that is done with it there
    function: Function
    key: ast.expr | None = None
    value: ast.expr | None = None
    method: str = ""  #: the member of it that is used, if any

    @property
    def only_closes(self) -> bool:
        """Return whether it merely closes: ``for one in self.x.values(): one.close()``."""
        member = self.function.parents.get(self.top)
        if isinstance(member, ast.Attribute) and member.attr in _CLOSING:
            return True
        for loop in find(self.function.ancestors(self.node), (ast.For, ast.AsyncFor)):
            calls = [call for statement in loop.body for call in find(statement, ast.Call)]
            is_iterated = self.node in ast.walk(loop.iter)
            return is_iterated and all(getattr(c.func, "attr", "") in _CLOSING for c in calls)
        return False

    @property
    def answers(self) -> bool:
        """Return whether it gives back what was there: ``next(self.x)``, ``setdefault(…)``."""
        is_alone = isinstance(self.function.parents.get(self.top), ast.Expr)
        is_default = self.method == "setdefault" and self.kind is AccessKind.STORE
        return self.kind is AccessKind.ADVANCE or (is_default and not is_alone)

    @property
    def empties(self) -> bool:
        """Return whether the target has nothing afterwards."""
        made = (ast.List, ast.Dict, ast.Set, ast.Call)
        is_bound = self.kind is AccessKind.ASSIGN and isinstance(self.value, made)
        return self.kind is AccessKind.CLEAR or is_bound


Uses = Sequence[Access]


def accesses(functions: Iterable[Function], origins: Origins) -> Iterator[Access]:
    """Yield every use of a target in *functions*."""
    for function in functions:
        finder = _Finder(function, origins)
        for node in function.nodes:
            target = finder.target(node)
            if target is not None and not finder.is_alias(node):
                yield finder.access(target, node)


class _Finder:
    def __init__(self, function: Function, origins: Origins) -> None:
        self._function = function
        self._origins = origins
        kinds = (ast.List, ast.Set, ast.Dict, ast.Call)
        self._defaults = {n for n, one in function.defaults.items() if isinstance(one, kinds)}
        self._aliases = {
            name: target
            for name, values in function.values.items()
            if len(values) == 1 and (target := self._outliving(values[0])) is not None
        }

    def target(self, node: ast.AST) -> str | None:
        """Name the target for which *node* stands, directly or as a local name."""
        if isinstance(node, ast.Name) and node.id in self._aliases:
            return None if isinstance(node.ctx, ast.Store) else self._aliases[node.id]
        return self._outliving(node)

    def is_alias(self, node: ast.AST) -> bool:
        """Return whether *node* is only given another name there."""
        parent = self._function.parents.get(node)
        if not isinstance(parent, (ast.Assign, ast.NamedExpr)) or parent.value is not node:
            return False
        target, _ = next(bindings(parent))
        return getattr(target, "id", "") in self._aliases

    def access(self, target: str, node: ast.AST) -> Access:
        parents = self._function.parents
        top, is_keyed, key = node, False, None
        while isinstance(parent := parents.get(top), ast.Subscript) and parent.value is top:
            top, is_keyed = parent, True
            key = key or parent.slice
        access = Access(target, AccessKind.READ, node, top, self._function, key)
        if isinstance(parent, ast.Attribute) and parent.value is top:
            return self._member(access, parent, is_keyed)
        kind, value = self._bare(top, is_keyed)
        return access._replace(kind=kind, value=value)

    def _bare(self, top: ast.AST, is_keyed: bool) -> tuple[AccessKind, ast.expr | None]:
        parent = self._function.parents.get(top)
        context = getattr(top, "ctx", None)
        if isinstance(context, ast.Del):
            return (AccessKind.TAKE if is_keyed else AccessKind.CLEAR), None
        if isinstance(context, ast.Store):
            value = getattr(parent, "value", None)
            if isinstance(parent, ast.AugAssign):
                return (AccessKind.COLLECT if is_keyed else AccessKind.AUGMENT), value
            return (AccessKind.STORE if is_keyed else AccessKind.ASSIGN), value
        if is_keyed:
            return AccessKind.LOOK_UP, None
        if isinstance(parent, ast.Compare):
            pairs = zip(parent.ops, parent.comparators, strict=True)
            if any(one is top and isinstance(op, (ast.In, ast.NotIn)) for op, one in pairs):
                return AccessKind.MEMBER, None
        called = ast.unparse(parent.func) if isinstance(parent, ast.Call) else ""
        if called.rpartition(".")[2] in _PUSHING and parent.args[:1] == [top]:  # type: ignore[union-attr]
            return AccessKind.COLLECT, None
        return _KIND_OF_CALL.get(called, AccessKind.READ), None

    def _member(self, access: Access, member: ast.Attribute, is_keyed: bool) -> Access:
        around = self._function.parents.get(member)
        call = around if isinstance(around, ast.Call) and around.func is member else None
        args, top = call.args if call else [], call or member
        kind = AccessKind.LOOK_UP if is_keyed else AccessKind.CALL if call else AccessKind.READ
        key, value = access.key, args[-1] if args else None
        if isinstance(around, ast.Subscript) and isinstance(around.ctx, ast.Store):
            kind = AccessKind.COLLECT  # a table's self.rows.loc[n] = row
        elif not is_keyed and (member.attr == "setdefault" or (member.attr == "get" and args)):
            key = args[0] if args else None
            kind = AccessKind.STORE if member.attr == "setdefault" else AccessKind.LOOK_UP
            then = self._function.parents.get(top)  # as in setdefault(key, []).append(value)
            if isinstance(then, ast.Attribute) and then.attr in _COLLECTING:
                kind = AccessKind.COLLECT
        else:
            kind = _KIND_OF_METHOD.get(member.attr, kind)
        return access._replace(kind=kind, top=top, key=key, value=value, method=member.attr)

    def _outliving(self, node: ast.AST) -> str | None:
        function, source = self._function, self._origins.source
        if member := source.member(node, function):
            return None if member in source.methods else f"self.{member}"
        if isinstance(node, ast.Attribute):
            owner = node.value
            if isinstance(owner, ast.Name) and self._origins.of(owner, function) == SPIDER:
                return f"{'self' if source.is_spider else 'spider'}.{node.attr}"
            return ast.unparse(node) if _is_elsewhere(node, function) else None
        if not isinstance(node, ast.Name):
            return None
        is_default = node.id in self._defaults and not function.is_inner(node)
        is_global = node.id in function.module.values and not function.is_local(node)
        return node.id if is_default or is_global or _is_imported(node, function) else None


def _is_elsewhere(node: ast.Attribute, function: Function) -> bool:
    """Return whether *node* is a container or number of another module or class of the project."""
    owner, module = node.value, function.module
    if isinstance(owner, ast.Name) and owner.id in module.classes and not function.is_local(owner):
        classes = find(module.tree.body, ast.ClassDef, lambda cls: cls.name == owner.id)
        return any(name == node.attr for cls in classes for name, _ in assigned_names(cls.body))
    home = function.live(owner)
    if is_a(home, ModuleType):
        is_own = is_same_project(home.__name__, module.name)
    else:
        is_own = is_a(home, type) and module.own(home) is not None
    return is_own and _is_kept(vars(home).get(node.attr))


def _is_imported(node: ast.Name, function: Function) -> bool:
    """Return whether *node* is a container or number that is imported from the project."""
    path = function.imports.get(node.id) or function.module.imports.get(node.id) or ""
    root = path.partition(".")[0]
    is_own = bool(path) and (not root or is_same_project(root, function.module.name))
    return is_own and _is_kept(function.live(node))


def _is_kept(value: Any) -> bool:
    return is_a(value, *_CONTAINERS, int, float)
