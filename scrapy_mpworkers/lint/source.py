"""Reads a pipeline: its methods, those of its bases, and the modules around them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any

from scrapy_mpworkers.lint.code import Function, Module, parsed
from scrapy_mpworkers.lint.project import is_a, loaded
from scrapy_mpworkers.lint.syntax import FunctionNode, assigned_names, is_call_of, text_of

#: Methods that Scrapy calls with each item, before the first and behind the last one.
ITEM_METHODS = ("process_item", "process_batch")
OPEN_METHODS = ("__init__", "from_crawler", "from_settings", "open_spider", "spider_opened")
CLOSE_METHODS = ("close_spider", "spider_closed", "close", "__del__")

#: Packages whose classes are known, and not read.
_KNOWN = frozenset({"builtins", "scrapy", "scrapy_mpworkers", "twisted", "typing", "abc"})


class Source:
    """Reads a pipeline: a class, or a function that is used as one."""

    is_spider = False  #: whether ``self`` is the crawl's spider

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.methods: dict[str, list[Function]] = {}  #: those of the nearest class first
        #: Values that are assigned in the body of a class, by name.
        self.class_values: dict[str, tuple[ast.expr, Module]] = {}
        self.unread: list[str] = []  #: classes of the user whose source is not there
        function = getattr(cls, "function", None)
        if inspect.isfunction(function):
            self._read_function(function)
        else:
            for number, base in enumerate(cls.__mro__[:-1]):
                if base.__module__.partition(".")[0] not in _KNOWN or base is cls:
                    self._read_class(base, number)

    @cached_property
    def class_names(self) -> frozenset[str]:
        """List the names of the class and its bases, by which their attributes may be meant."""
        return frozenset(base.__name__ for base in self.cls.__mro__[:-1])

    def method(self, name: str) -> Function | None:
        """Return the method that a call on the pipeline finds."""
        return self.methods[name][0] if name in self.methods else None

    def reachable(self, names: Iterable[str]) -> list[Function]:
        """List the methods of *names* and all that they mention: methods, functions of theirs."""
        todo = [method for name in names if (method := self.method(name)) is not None]
        found: list[Function] = []
        while todo:
            function = todo.pop(0)
            if not any(function.node is one.node for one in found):
                found.append(function)
                for node in function.nodes:
                    mentioned = self.meant(node, function)
                    if mentioned is not None and not function.is_for_either_loop(node):
                        todo.append(mentioned)
        return found

    def is_own(self, node: ast.AST, function: Function) -> bool:
        """Return whether *node* stands for the pipeline or its class."""
        if isinstance(node, ast.Name):
            if node.id in function.own_names and function.owner is not None:
                return not function.is_inner(node)
            if node.id not in self.class_names or function.is_local(node):
                return False
            # In a worker this finds nothing, if the class is of the script.
            live = function.module.own(function.live(node))
            return not is_a(live, type) or live in self.cls.__mro__
        if isinstance(node, ast.Attribute) and node.attr == "__class__":
            return self.is_own(node.value, function)
        return is_call_of(node, "type") and any(self.is_own(one, function) for one in node.args[:1])

    def member(self, node: ast.AST, function: Function) -> str:
        """Return ``x`` of ``self.x`` and ``getattr(self, "x")``, and nothing of all else."""
        if is_call_of(node, "getattr") and len(node.args) > 1:
            name = text_of(node.args[1])
            return name if name != "?" and self.is_own(node.args[0], function) else ""
        is_own = isinstance(node, ast.Attribute) and self.is_own(node.value, function)
        return node.attr if is_own else ""  # type: ignore[attr-defined]

    def meant(self, node: ast.AST, function: Function) -> Function | None:
        """Return the method or function of the project that *node* names there, if any."""
        if isinstance(node, ast.Attribute):
            if is_call_of(node.value, "super"):
                methods = self.methods.get(node.attr, [])
                behind = (one for one in methods if (one.owner or 0) > (function.owner or 0))
                return next(behind, None)
            if self.is_own(node.value, function):
                return self.method(node.attr)
        return function.helper(node)

    def _read_function(self, function: FunctionType) -> None:
        module = parsed(function.__code__.co_filename, function.__module__)
        node = _find(module.tree, function.__qualname__)
        if isinstance(node, FunctionNode):
            self.methods["process_item"] = [Function("process_item", node, module)]
        else:
            self.unread.append(function.__qualname__)

    def _read_class(self, cls: type, number: int) -> None:
        module = _module_of(cls)
        node = _find(module.tree, cls.__qualname__)
        if not isinstance(node, ast.ClassDef):
            self.unread.append(cls.__qualname__)
            return
        for one in node.body:
            if isinstance(one, FunctionNode):
                method = Function(one.name, one, module, number)
                self.methods.setdefault(one.name, []).append(method)
        for name, value in assigned_names(node.body):
            self.class_values.setdefault(name, (value, module))


def _module_of(cls: type) -> Module:
    # By the code's own file: a class of __main__ has another __main__ around it in a worker.
    files = (_file_of(value, cls.__module__) for value in list(vars(cls).values()))
    file = next(filter(None, files), None)
    return parsed(file or loaded(cls.__module__).get("__file__"), cls.__module__)


def _file_of(value: Any, module: str) -> str | None:
    """Return the file of the code of a method, if it is of that module."""
    try:
        inner = inspect.unwrap(getattr(value, "__func__", value))
        file: str = inner.__code__.co_filename
        return file if inner.__module__ == module else None
    except Exception:  # no method; an object that stands for another one may raise anything
        return None


def _find(tree: ast.AST, qualname: str) -> ast.AST | None:
    """Return the definition of that name; of several the last, as when the module runs."""
    for name in qualname.replace(".<locals>", "").split("."):
        inside = [node for node in _definitions(tree) if node.name == name]
        if not inside:
            return None
        tree = inside[-1]
    return tree


def _definitions(tree: ast.AST) -> Iterator[ast.ClassDef | FunctionNode]:
    """Yield what is defined right in *tree*, also under an ``if`` or ``try`` of it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, FunctionNode)):
            yield node
        elif isinstance(node, (ast.stmt, ast.ExceptHandler)):
            yield from _definitions(node)
