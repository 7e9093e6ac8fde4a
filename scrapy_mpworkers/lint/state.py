"""Tells what a pipeline remembers from item to item, and what it holds until it is closed.

It also tells what a pipeline fills for somebody who reads it after the crawl, and finds it empty.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from scrapy_mpworkers.lint.accesses import Access, AccessKind, Uses, accesses
from scrapy_mpworkers.lint.caches import begins_anew, is_built_as_a_whole, is_cache
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins, first_part
from scrapy_mpworkers.lint.findings import Kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.project import is_a
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import FunctionNode, find, mentions, names_in

#: Types of a single number or text, to which an item may add.
_SCALARS = frozenset({"int", "float", "str", "bytes", "bool", "tuple"})
_APPENDING = ("append", "appendleft", "extend")
_CLOCKS = ("time.time()", "time.monotonic()", "time.perf_counter()", "datetime.datetime.now()")
_ENDLESS = ("itertools.cycle()",)
_FILLING = frozenset({AccessKind.AUGMENT, AccessKind.COLLECT, AccessKind.STORE})
_CHANGES = _FILLING | {AccessKind.ADVANCE, AccessKind.ASSIGN}
_LOOKS = frozenset(
    {AccessKind.MEMBER, AccessKind.LOOK_UP, AccessKind.LENGTH}
    | {AccessKind.READ, AccessKind.TAKE, AccessKind.CALL}
)
#: Uses that gather what a target holds, and uses at the end that do not tell what becomes of it.
_GATHERING = frozenset({AccessKind.COLLECT, AccessKind.STORE, AccessKind.CALL})
_BESIDE = frozenset({AccessKind.LENGTH, AccessKind.CLEAR, AccessKind.MEMBER})
#: Methods that are called without being named.
_SILENT = ("__call__", "__contains__", "__getitem__", "__setitem__", "__iadd__")


class State:
    """Finds the targets that a pipeline's items change."""

    def __init__(self, origins: Origins, at_item: Iterable[str], at_close: Iterable[str]) -> None:
        self._origins = origins
        self.kinds: dict[str, Kind] = {}  #: by target; others are left alone
        self.changes: list[Access] = []  #: also of targets that each item begins anew
        self.changed: set[str] = set()  #: every target that the source shows being changed by items
        by_target = attrgetter("target")
        items = accesses(origins.source.reachable(at_item), origins)
        #: Every use of a target by items, and at the end.
        self.items = sorted(items, key=by_target)
        self.closing = list(accesses(origins.source.reachable(at_close), origins))
        for target, group in groupby(self.items, key=by_target):
            closing = [one for one in self.closing if self._is_of(target, one)]
            self._judge(target, list(group), closing)

    def _judge(self, target: str, items: Uses, closing: Uses) -> None:
        origin = self._origin(items[0])
        closing = [access for access in closing if not access.only_closes]
        is_seen = any(one.kind not in (AccessKind.CLEAR, AccessKind.ASSIGN) for one in closing)
        every = [*items, *closing]
        changes = [access for access in items if self._is_change(access, origin, every)]
        if any(access.method == "truncate" for access in items):
            return  # a buffer that is used again and again
        self.changes += changes
        is_new = not is_seen and begins_anew(items, self._origins.source)
        if not changes or is_new or is_built_as_a_whole(changes, items):
            return
        self.changed.add(target)
        looks = [access for access in items if access.kind in _LOOKS and access not in changes]
        if self._is_held(changes, looks, items, closing, origin):
            self.kinds[target] = Kind.BUFFER
        elif is_cache(changes, items):
            if not is_seen:
                self.kinds[target] = Kind.CACHE
        elif looks or is_seen or self._tells(target, changes, origin):
            self.kinds[target] = Kind.STATE
        elif _is_lost(target, changes, self._origins):
            self.kinds[target] = Kind.LOST

    def _tells(self, target: str, changes: Uses, origin: str) -> bool:
        """Return whether the target affects items though they do not look at it by this name."""
        if any(one.answers for one in changes) or _is_document(origin):
            return True
        if target.startswith(("self.", "spider.")):
            return False
        # A helper may look at it by its own name, as at helpers.KNOWN.
        name = target.rpartition(".")[2]
        return any(
            access.target.rpartition(".")[2] == name and access.kind in _LOOKS
            for access in self.items
            if access.target != target and not access.target.startswith(("self.", "spider."))
        )

    def _is_of(self, target: str, closing: Access) -> bool:
        """Return whether what is closed is the target, or the document that it is part of."""
        if closing.target == target:
            return True
        origins = [self._origins.of_attribute(one[5:]) for one in (target, closing.target)]
        return all(map(_is_document, origins))

    def _origin(self, access: Access) -> str:
        if access.target.startswith("self."):
            origin = self._origins.of_attribute(access.target[5:])
            return "" if origin.startswith(known().names["fields"]) else origin
        if access.target.startswith("spider."):
            return ""
        module = access.function.module
        value = module.values.get(access.target)
        return self._origins.of(value, module.scope) if value is not None else "list()"

    def _is_change(self, access: Access, origin: str, every: Uses) -> bool:
        if access.kind not in _CHANGES:
            return _is_document(origin) and access.method in known().names["filling"]
        if access.kind is AccessKind.ADVANCE:
            return not origin.startswith(_ENDLESS)
        if access.kind is AccessKind.ASSIGN:
            return self._is_remembered(access)
        return access.kind is AccessKind.AUGMENT or self._takes_in(access, origin, every)

    def _takes_in(self, access: Access, origin: str, every: Uses) -> bool:
        """Return whether the target is a container of this process: a session has ``add``, too."""
        names = known().names
        made_of = names["documents"] + names["indexes"]
        if origin in names["containers"] or origin.startswith(made_of):
            return True
        if not origin or origin in _SCALARS:
            is_own = access.target.startswith("self.")
            is_known = access.target[5:] in self._origins.assignments if is_own else True
            plain = {AccessKind.MEMBER, AccessKind.LENGTH}
            # As a container of Python takes it in, and a session does not.
            appends = access.method in _APPENDING or access.kind is AccessKind.STORE
            return not is_known or appends or any(one.kind in plain for one in every)
        # An object of an unknown class that is asked whether it has an item has kept items.
        is_shared = first_part(origin) in names["shared"]
        return not is_shared and any(one.kind is AccessKind.MEMBER for one in every)

    def _is_remembered(self, access: Access) -> bool:
        """Return whether an assignment carries something of this item, or its time, to the next."""
        value = access.value
        if value is None or isinstance(value, ast.Constant):
            return False
        is_or = isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or)
        if is_or and ast.unparse(value.values[0]) == ast.unparse(access.node):  # type: ignore[attr-defined]
            return False  # self.x = self.x or …, which no later item changes
        if mentions(value, access.node):
            return True
        if self._origins.of(value, access.function) in _CLOCKS:
            return True
        return bool(names_in(value) & access.function.names_of_item(2))

    def _is_held(self, changes: Uses, looks: Uses, items: Uses, closing: Uses, origin: str) -> bool:
        gathers = any(one.kind in _GATHERING for one in changes) or _is_document(origin)
        gathers = gathers or origin in (*known().names["containers"], "str", "bytes", "tuple")
        if not gathers and not any(isinstance(one.value, (ast.List, ast.Tuple)) for one in changes):
            return False
        if any(access.kind not in _BESIDE for access in closing):
            return True
        is_emptied = any(access.empties for access in items)
        looked = {access.kind for access in looks}
        return is_emptied and AccessKind.READ in looked and AccessKind.MEMBER not in looked


def _is_document(origin: str) -> bool:
    return origin.startswith(known().names["documents"])


def _is_lost(target: str, changes: Uses, origins: Origins) -> bool:
    """Return whether somebody else can read, inline, a target that the pipeline only fills."""
    access = changes[0]
    if any(one.kind not in _FILLING for one in changes):
        return False
    if target.startswith("spider."):
        return access.kind is not AccessKind.AUGMENT  # of which the worker warns when it happens
    if target.startswith("self."):
        return all(_is_of_class(one, origins) for one in changes)
    if target in access.function.parameters:  # the default of one
        return False
    return not _is_read_by_others(target, access.function, origins.source)


def _is_of_class(access: Access, origins: Origins) -> bool:
    name = access.target[5:]
    origin = origins.of_attribute(name)
    if name not in origins.source.class_values or origin.startswith(known().names["fields"]):
        return False
    if len(origins.assignments[name]) > 1:
        return False
    # self.n += 1 makes a number of the object; self.rows += [row] adds to the list of the class.
    if access.kind is not AccessKind.AUGMENT or origin in known().names["containers"]:
        return True
    owner = getattr(access.node, "value", None)
    is_self = isinstance(owner, ast.Name) and owner.id in access.function.own_names
    return not is_self or "classmethod" in access.function.decorators


def _is_read_by_others(target: str, function: Function, source: Source) -> bool:
    """Return whether another pipeline of the module uses it: both share a memory of items then."""
    module = function.module
    for cls in find(module.tree.body, ast.ClassDef, lambda one: one.name not in source.class_names):
        nodes = [node for node in cls.body if isinstance(node, FunctionNode)]
        methods = [Function(node.name, node, module, 0) for node in nodes]
        is_pipeline = any(method.name == "process_item" for method in methods)
        if is_pipeline and any(_names(method, target) for method in methods):
            return True
    return False


def _names(method: Function, target: str) -> bool:
    names = find(method.nodes, ast.Name, lambda node: node.id == target)
    return not all(map(method.is_local, names))


def kept_by_delegates(origins: Origins, state: State) -> dict[str, Kind]:
    """Map ``self.helper.seen`` to what it is, for objects of other classes of the project."""
    found: dict[str, Kind] = {}
    for name, assigned in origins.assignments.items():
        target = f"self.{name}"
        classes = {cls for value, function in assigned if (cls := class_of(value, function))}
        if len(classes) == 1 and target not in state.kinds:
            at_item = {*_called(state.items, target), *_SILENT}
            at_close = _called(state.closing, target)
            inner = State(Origins(Source(classes.pop())), at_item, at_close)
            own = {one[5:]: kind for one, kind in inner.kinds.items() if one.startswith("self.")}
            found |= {f"{target}.{one}": kind for one, kind in own.items()}
    return found


def _called(uses: Iterable[Access], target: str) -> set[str]:
    return {access.method for access in uses if access.target == target and access.method}


def class_of(value: ast.expr, function: Function) -> type | None:
    """Return the class, if *value* makes an object of one of the project."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
        return None
    if function.is_local(value.func):
        return None
    live = function.module.own(function.live(value.func))
    return live if is_a(live, type) else None
