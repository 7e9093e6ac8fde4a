"""Parsed modules and functions, and how their names are bound."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

#: Parameters that Scrapy fills, with nothing of an item.
GIVEN = frozenset({"crawler", "spider", "settings"})


@dataclass(frozen=True, eq=False)
class Module:
    """A parsed file: what it imports, assigns and defines at the top."""

    name: str
    tree: ast.Module

    @cached_property
    def imports(self) -> dict[str, str]:
        """Local name → dotted path, imports within functions included."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name.partition(".")[0]] = (
                        one.name if one.asname else one.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                package = "." * node.level + (node.module or "")
                for one in node.names:
                    found[one.asname or one.name] = f"{package}.{one.name}".lstrip(".")
        return found

    @cached_property
    def values(self) -> dict[str, ast.expr]:
        """What is assigned to names at the top."""
        return dict(assigned_names(self.tree.body))

    @cached_property
    def functions(self) -> dict[str, FunctionNode]:
        """The functions at the top."""
        return {node.name: node for node in self.tree.body if isinstance(node, FunctionNode)}

    def live(self, name: str) -> Any:
        """The class or function of the same project that *name* is; ``None`` for all else."""
        value = getattr(sys.modules.get(self.name), name, None)
        home = getattr(value, "__module__", None)
        is_ours = isinstance(home, str) and home.partition(".")[0] == self.name.partition(".")[0]
        return value if is_ours else None


@dataclass(frozen=True, eq=False)
class Function:
    """A method or a function at the top of a module.

    Attributes:
        owner: the place of its class among the bases; ``None``: it is no method.
    """

    name: str
    node: FunctionNode
    module: Module
    owner: int | None = None

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Each node's parent."""
        return {child: node for node in ast.walk(self.node) for child in ast.iter_child_nodes(node)}

    @cached_property
    def parameters(self) -> list[str]:
        """Names of its parameters, without the object or class that a method is called on."""
        args = self.node.args
        names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
        return [*names[self._is_bound :], *(arg.arg for arg in args.kwonlyargs)]

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Names that stand for the pipeline or its class."""
        args = [*self.node.args.posonlyargs, *self.node.args.args]
        first = {args[0].arg} if args and self._is_bound else set()
        return frozenset({"self", "cls"} | first)

    @cached_property
    def values(self) -> dict[str, list[ast.expr]]:
        """What is assigned to each of its locals, in order; ``with`` and ``for`` included."""
        found: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.node):
            for target, value in bindings(node):
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        found.setdefault(name.id, []).append(value)
        return found

    @cached_property
    def globals(self) -> frozenset[str]:
        """Names that it declares ``global``."""
        return frozenset(
            name
            for node in ast.walk(self.node)
            if isinstance(node, ast.Global)
            for name in node.names
        )

    @cached_property
    def decorators(self) -> set[str]:
        return {ast.unparse(one).partition("(")[0] for one in self.node.decorator_list}

    def helper(self, name: str) -> Function | None:
        """The function of the same project that *name* means here."""
        if name in self.values:
            return None
        if name in self.module.functions:
            return Function(name, self.module.functions[name], self.module)
        return self._imported(name) if name in self.module.imports else None

    def _imported(self, name: str) -> Function | None:
        live = inspect.unwrap(self.module.live(name))
        if not inspect.isfunction(live):
            return None
        module = parsed(live.__code__.co_filename, live.__module__)
        node = None if module is None else module.functions.get(live.__name__)
        return None if module is None or node is None else Function(name, node, module)

    @property
    def _is_bound(self) -> bool:
        return self.owner is not None and "staticmethod" not in self.decorators

    def is_for_either_loop(self, node: ast.AST) -> bool:
        """``if is_asyncio_available(): …, else: …``: a worker has asyncio."""
        if "is_asyncio_available" not in self.module.imports:
            return False
        return any(
            isinstance(one, (ast.If, ast.IfExp)) and "is_asyncio_available" in ast.unparse(one.test)
            for one in self.ancestors(node)
        )

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """What *node* lies in, from the inside out, up to the function itself."""
        while node is not self.node and node in self.parents:
            node = self.parents[node]
            yield node


def is_super(node: ast.AST) -> bool:
    """Whether it is ``super()``."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return is_call and node.func.id == "super"  # type: ignore[attr-defined]


def mentions(value: ast.AST, place: ast.AST) -> bool:
    """Whether *place*, such as ``self.x``, is part of *value*."""
    wanted = ast.unparse(place)
    return any(ast.unparse(node) == wanted for node in ast.walk(value) if type(node) is type(place))


def assigned_names(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        for target, value in bindings(node):
            if isinstance(target, ast.Name):
                yield target.id, value


def bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of every kind of assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


@lru_cache(maxsize=64)
def parsed(file: str, name: str) -> Module | None:
    """The module *name* in *file*, if its source is there."""
    try:
        return Module(name, ast.parse("".join(linecache.getlines(file)) or "?"))
    except (SyntaxError, ValueError):
        return None
