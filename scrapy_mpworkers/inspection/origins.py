"""Where a value comes from: ``self.table`` → ``pymongo.MongoClient()[][]``.

An origin is a dotted path from an import, a builtin or the crawl, with ``()`` for each call and
``[]`` for each subscript on the way. It is read off the assignments, without running anything.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from functools import cached_property

from scrapy_mpworkers.inspection.code import Function, bindings, is_super
from scrapy_mpworkers.inspection.source import Source

#: Parameters that Scrapy fills.
_GIVEN = {"crawler": "crawler", "spider": "spider", "settings": "crawler.settings"}
#: Two ways to the same.
_SAME = {
    "spider.crawler": "crawler",
    "crawler.spider": "spider",
    "spider.settings": "crawler.settings",
}
_DEPTH = 12


class Origins:
    """Follows the values of one pipeline."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._met: dict[ast.AST, str | None] = {}  #: in the course of one question

    def of(self, node: ast.AST | None, function: Function, depth: int = _DEPTH) -> str | None:
        """The origin of an expression in *function*, or ``None``."""
        if depth == 0 or node is None:
            return None
        if depth == _DEPTH:
            self._met.clear()
        if node not in self._met:
            self._met[node] = None  # for those that come back to it: text = text.strip()
            named = self._named(node, function, depth - 1)
            self._met[node] = named or self._literal(node, function, depth - 1)
        return self._met[node]

    def of_attribute(self, name: str, depth: int = _DEPTH) -> str | None:
        """The origin of ``self.<name>``: of the first assignment that tells."""
        for value, function in self.assignments.get(name, []):
            found = self.of(value, function, depth)
            if found not in (None, "None"):
                return found
        return None

    def is_own(self, node: ast.AST, function: Function) -> bool:
        """Whether *node* stands for the pipeline or its class."""
        return self._source.is_own(node, function)

    @cached_property
    def assignments(self) -> dict[str, list[tuple[ast.expr, Function]]]:
        """What is assigned to each attribute, and where."""
        found: dict[str, list[tuple[ast.expr, Function]]] = {}
        for function in self.functions:
            for node in ast.walk(function.node):
                for target, value in bindings(node):
                    for name, part in self._own_targets(target, value, function):
                        found.setdefault(name, []).append((part, function))
        for name, value in self._source.class_values.items() if self.functions else ():
            found.setdefault(name, []).append((value, self.functions[0]))
        return found

    @cached_property
    def functions(self) -> list[Function]:
        """All methods that there are, and the functions that they use."""
        return self._source.reachable(self._source.methods)

    def _own_targets(
        self, target: ast.expr, value: ast.expr, function: Function
    ) -> Iterator[tuple[str, ast.expr]]:
        if isinstance(target, (ast.Tuple, ast.List)):
            is_pairwise = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            values = value.elts if isinstance(value, ast.Tuple) and is_pairwise else None
            for n, part in enumerate(target.elts):
                yield from self._own_targets(part, values[n] if values else value, function)
        elif isinstance(target, ast.Attribute) and self._is_object(target.value, function):
            yield target.attr, value

    def _is_object(self, node: ast.expr, function: Function) -> bool:
        """``self``, or in ``from_crawler`` the local that has just been made: ``p = cls()``."""
        if self.is_own(node, function):
            return True
        values = function.values.get(node.id, []) if isinstance(node, ast.Name) else []
        return any(self._makes_one(value, function) for value in values)

    def _makes_one(self, node: ast.AST, function: Function) -> bool:
        if not isinstance(node, ast.Call):
            return False
        is_base = isinstance(node.func, ast.Attribute) and is_super(node.func.value)
        return is_base or self.is_own(node.func, function)

    def _named(self, node: ast.AST, function: Function, depth: int) -> str | None:
        if isinstance(node, ast.Name):
            return self._of_name(node.id, function, depth)
        if isinstance(node, ast.Attribute):
            return self._of_member(node, function, depth)
        if isinstance(node, ast.Call):
            return self._of_call(node, function, depth)
        if isinstance(node, ast.Subscript):
            return _more(self.of(node.value, function, depth), "[]")
        if isinstance(node, (ast.Await, ast.Starred)):
            return self.of(node.value, function, depth)
        return None

    def _literal(self, node: ast.AST, function: Function, depth: int) -> str | None:
        if isinstance(node, (ast.List, ast.ListComp)):
            return "list()"
        if isinstance(node, (ast.Set, ast.SetComp)):
            return "set()"
        if isinstance(node, (ast.Dict, ast.DictComp)):
            return "dict()"
        if isinstance(node, ast.Constant):
            return "None" if node.value is None else type(node.value).__name__
        branches: list[ast.expr] = []
        if isinstance(node, ast.BoolOp):
            branches = list(reversed(node.values))
        elif isinstance(node, ast.IfExp):
            branches = [node.body, node.orelse]
        found = (self.of(branch, function, depth) for branch in branches)
        return next((one for one in found if one not in (None, "None")), None)

    def _of_name(self, name: str, function: Function, depth: int) -> str | None:
        for value in function.values.get(name, []):
            if (found := self.of(value, function, depth)) not in (None, "None"):
                return found
        if name in function.values:
            return None
        if name in function.parameters:
            return _GIVEN.get(name) or self._of_argument(name, function, depth)
        if name in function.module.imports:
            return function.module.imports[name]
        if name in function.module.values:
            return self.of(function.module.values[name], function, depth)
        return name if hasattr(builtins, name) else None

    def _of_member(self, node: ast.Attribute, function: Function, depth: int) -> str | None:
        if not self.is_own(node.value, function):
            base = self.of(node.value, function, depth)
            path = _more(base, f".{node.attr}")
            return _SAME.get(path or "", path)
        method = self._source.method(node.attr)
        if method is not None and any("property" in one for one in method.decorators):
            return self._returned(method, depth)
        found = self.of_attribute(node.attr, depth)
        return found or _GIVEN.get(node.attr.lstrip("_"))

    def _of_call(self, node: ast.Call, function: Function, depth: int) -> str | None:
        if isinstance(node.func, ast.Attribute) and self.is_own(node.func.value, function):
            method = self._source.method(node.func.attr)
            if method is not None:
                return self._returned(method, depth)
        if isinstance(node.func, ast.Name):
            helper = function.helper(node.func.id)
            if helper is not None:
                return self._returned(helper, depth)
            if node.func.id == "getattr" and len(node.args) > 1:
                name = ast.literal_eval(node.args[1]) if _is_text(node.args[1]) else "?"
                return _more(self.of(node.args[0], function, depth), f".{name}")
        return _more(self.of(node.func, function, depth), "()")

    def _returned(self, function: Function, depth: int) -> str | None:
        returns = (one.value for one in ast.walk(function.node) if isinstance(one, ast.Return))
        found = (self.of(value, function, depth) for value in returns)
        return next((one for one in found if one not in (None, "None")), None)

    def _of_argument(self, name: str, function: Function, depth: int) -> str | None:
        """Of a parameter of ``__init__``, by the call that ``from_crawler`` makes."""
        if function.name != "__init__" or depth <= 0:
            return None
        for maker in ("from_crawler", "from_settings"):
            method = self._source.method(maker)
            for call in ast.walk(method.node) if method else ():
                if method and isinstance(call, ast.Call) and self._makes_one(call, method):
                    value = _argument(call, name, function)
                    if value is not None:
                        return self.of(value, method, depth)
        return self.of(_default(name, function), function, depth)


def _argument(call: ast.Call, name: str, function: Function) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    place = function.parameters.index(name)
    return call.args[place] if place < len(call.args) else None


def _default(name: str, function: Function) -> ast.expr | None:
    args = function.node.args
    positional = [*args.posonlyargs, *args.args]
    pairs = list(zip(reversed(positional), reversed(args.defaults), strict=False))
    pairs += [(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d]
    return next((value for arg, value in pairs if arg.arg == name), None)


def _more(base: str | None, step: str) -> str | None:
    return None if base is None else base + step


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
