"""Finds where a value comes from: ``self.table`` → ``pymongo.MongoClient()[][]``.

An origin is a dotted path from an import, a builtin or the crawl, with ``()`` for each call and
``[]`` for each subscript on the way. Assignments tell it, without running anything.
Roots of the crawl are no names, so that a package called ``crawler`` is not taken for it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.source import ITEM_METHODS, Source
from scrapy_mpworkers.lint.syntax import argument, bindings, find, is_call_of, is_none, text_of

CRAWLER, SPIDER = "<crawler>", "<spider>"
SETTINGS = f"{CRAWLER}.settings"
#: What a parameter of that name is, if no call of its function is seen.
_GIVEN = {"crawler": CRAWLER, "spider": SPIDER, "settings": SETTINGS}
#: Methods that Scrapy calls with something else than an item, and what that is.
_MAKERS = {"from_crawler": CRAWLER, "from_settings": SETTINGS}
#: Methods that Scrapy calls with the spider under its name.
_OF_SPIDER = ("open_spider", "close_spider", *ITEM_METHODS)
#: Longer paths to the same objects.
_SAME = {f"{SPIDER}.crawler": CRAWLER, f"{CRAWLER}.spider": SPIDER, f"{SPIDER}.settings": SETTINGS}
_DISPLAYS: dict[type[ast.AST], str] = {
    **dict.fromkeys((ast.List, ast.ListComp), "list()"),
    **dict.fromkeys((ast.Set, ast.SetComp), "set()"),
    **dict.fromkeys((ast.Dict, ast.DictComp), "dict()"),
}
_DEPTH = 12

#: An expression and the function that it stands in.
Value = tuple[ast.expr, Function]


class Origins:
    """Follows the values of one pipeline."""

    def __init__(self, source: Source) -> None:
        self.source = source
        # Kept while one question is answered:
        self._met: dict[ast.AST, str] = {}
        self._depth = 0

    def of(self, node: ast.AST | None, function: Function) -> str:
        """Return the origin of an expression in *function*; empty if it is not known."""
        if node is None or self._depth == _DEPTH:
            return ""
        if self._depth == 0:
            self._met.clear()
        if node not in self._met:
            self._met[node] = ""  # for those that come back to it: text = text.strip()
            self._depth += 1
            try:
                self._met[node] = self._followed(node, function)
            finally:
                self._depth -= 1
        return self._met[node]

    def of_attribute(self, name: str) -> str:
        """Return the origin of ``self.<name>``: of the first assignment that tells."""
        return self._first_of(self.assignments.get(name, []))

    def _first_of(self, values: Iterable[tuple[ast.expr | None, Function]]) -> str:
        found = (self.of(value, function) for value, function in values)
        return next((one for one in found if one not in ("", "None")), "")

    @cached_property
    def assignments(self) -> dict[str, list[Value]]:
        """Map each attribute to what is assigned to it, and where."""
        found: dict[str, list[Value]] = {}
        for function in self.functions:
            for node in function.nodes:
                for target, value in bindings(node):
                    for name, part in self._own_targets(target, value, function):
                        found.setdefault(name, []).append((part, function))
        for name, (value, module) in self.source.class_values.items():
            found.setdefault(name, []).append((value, module.scope))
        return found

    @cached_property
    def functions(self) -> list[Function]:
        """List all methods that there are, and the functions that they use."""
        return self.source.reachable(self.source.methods)

    def _own_targets(
        self, target: ast.expr, value: ast.expr, function: Function
    ) -> Iterator[tuple[str, ast.expr]]:
        if isinstance(target, (ast.Tuple, ast.List)):
            values = [value] * len(target.elts)
            if isinstance(value, ast.Tuple) and len(value.elts) == len(values):
                values = value.elts
            for part, given in zip(target.elts, values, strict=True):
                yield from self._own_targets(part, given, function)
        elif isinstance(target, ast.Attribute) and self._is_object(target.value, function):
            yield target.attr, value

    def _is_object(self, node: ast.expr, function: Function) -> bool:
        """Return whether it is ``self``, or in ``from_crawler`` a ``p = cls()``."""
        if self.source.is_own(node, function):
            return True
        values = function.values.get(node.id, []) if isinstance(node, ast.Name) else []
        return any(self._makes_one(value, function) for value in values)

    def _makes_one(self, node: ast.AST, function: Function) -> bool:
        if not isinstance(node, ast.Call):
            return False
        is_base = isinstance(node.func, ast.Attribute) and is_call_of(node.func.value, "super")
        return is_base or self.source.is_own(node.func, function)

    def _followed(self, node: ast.AST, function: Function) -> str:
        if isinstance(node, ast.Name):
            return self._of_name(node, function)
        if isinstance(node, ast.Attribute):
            return self._of_member(node, function)
        if isinstance(node, ast.Call):
            return self._of_call(node, function)
        if isinstance(node, ast.Subscript):
            return _more(self.of(node.value, function), "[]")
        if isinstance(node, (ast.Await, ast.Starred)):
            return self.of(node.value, function)
        if isinstance(node, ast.Constant):
            return "None" if node.value is None else type(node.value).__name__
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            path = self.of(node.left, function)
            return path if path.startswith("pathlib.") else ""
        if isinstance(node, ast.BoolOp):
            return self._first_of((value, function) for value in reversed(node.values))
        if isinstance(node, ast.IfExp):
            return self._first_of([(node.body, function), (node.orelse, function)])
        return _DISPLAYS.get(type(node), "")

    def _of_name(self, node: ast.Name, function: Function) -> str:
        name = node.id
        if function.is_inner(node):
            return ""
        if self.source.is_spider and self.source.is_own(node, function):
            return SPIDER
        if found := self._first_of((value, function) for value in function.values.get(name, [])):
            return found
        if name in function.parameters and name not in function.values:
            return self._of_parameter(name, function)
        if function.is_local(node):
            return function.imports.get(name, "")
        module = function.module
        if name in module.imports:
            return module.imports[name]
        if name in module.values:
            return self.of(module.values[name], module.scope)
        is_defined = name in module.functions or name in module.classes
        return name if hasattr(builtins, name) and not is_defined else ""

    def _of_member(self, node: ast.Attribute, function: Function) -> str:
        if not self.source.is_own(node.value, function):
            path = _more(self.of(node.value, function), f".{node.attr}")
            return _SAME.get(path, path)
        method = self.source.method(node.attr)
        if method is not None and any("property" in one for one in method.decorators):
            return self._returned(method)
        found = self.of_attribute(node.attr)
        # Its name counts only where no assignment is seen: the object may be somebody else's.
        is_assigned = any(not is_none(value) for value, _ in self.assignments.get(node.attr, []))
        return found if found or is_assigned else _GIVEN.get(node.attr.lstrip("_"), "")

    def _of_call(self, node: ast.Call, function: Function) -> str:
        method = self.source.method(self.source.member(node.func, function))
        called = method or function.helper(node.func)
        if called is not None:
            return self._returned(called)
        if is_call_of(node, "getattr") and len(node.args) > 1:
            return _more(self.of(node.args[0], function), f".{text_of(node.args[1])}")
        return _more(self.of(node.func, function), "()")

    def _returned(self, function: Function) -> str:
        return self._first_of((one.value, function) for one in find(function.nodes, ast.Return))

    def _of_parameter(self, name: str, function: Function) -> str:
        """Follow a parameter to the calls that are seen, else take it as Scrapy gives it."""
        if function.owner is not None and function.name in _MAKERS:
            return _MAKERS[function.name] if function.parameters[0] == name else ""
        if function.owner is not None and function.name in _OF_SPIDER:
            return SPIDER if name == "spider" else ""
        if given := self.arguments(name, function):
            return self._first_of(given)
        default = function.defaults.get(name)
        return self.of(default, function) if default else _GIVEN.get(name, "")

    def arguments(self, name: str, function: Function) -> list[Value]:
        """List the values that a parameter is given in the calls that are seen, and by whom."""
        calls = self._calls.get(function.node, [])
        if function.name == "__init__" and function.owner is not None:
            makers = [one for name in _MAKERS if (one := self.source.method(name)) is not None]
            made = [(call, one) for one in makers for call in find(one.nodes, ast.Call)]
            calls = [(call, one) for call, one in made if self._makes_one(call, one)]
        found = [(_argument(call, name, function), caller) for call, caller in calls]
        return [(value, caller) for value, caller in found if value is not None]

    @cached_property
    def _calls(self) -> dict[ast.AST, list[tuple[ast.Call, Function]]]:
        """Map the node of each function of the project to its calls."""
        found: dict[ast.AST, list[tuple[ast.Call, Function]]] = {}
        for caller in self.functions:
            for node in find(caller.nodes, ast.Call):
                called = self.source.meant(node.func, caller)
                if called is not None:
                    found.setdefault(called.node, []).append((node, caller))
        return found


def _argument(call: ast.Call, name: str, function: Function) -> ast.expr | None:
    position = function.parameters.index(name)
    is_spread = any(isinstance(one, ast.Starred) for one in call.args[: position + 1])
    return argument(call, None if is_spread else position, {name})


def _more(base: str, step: str) -> str:
    return base and base + step


def first_part(origin: str) -> str:
    """Return what an origin begins with, as ``pymongo`` of ``pymongo.MongoClient()[]``."""
    return re.split(r"[.(\[]", origin, maxsplit=1)[0]
