"""Asks small questions of syntax trees, and knows nothing of the modules around them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeGuard, TypeVar, overload

Node = TypeVar("Node", bound=ast.AST)
Other = TypeVar("Other", bound=ast.AST)
Nodes = ast.AST | Iterable[ast.AST]  #: a tree, or nodes that have been listed already

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@overload
def find(nodes: Nodes, kind: type[Node], test: Callable[[Node], bool] = ...) -> list[Node]: ...
@overload
def find(
    nodes: Nodes, kind: tuple[type[Node], type[Other]], test: Callable[[Node | Other], bool] = ...
) -> list[Node | Other]: ...
def find(nodes: Nodes, kind: object, test: Callable[..., bool] = lambda node: True) -> object:
    """List the nodes of a type, or of two, that pass *test*."""
    every = ast.walk(nodes) if isinstance(nodes, ast.AST) else nodes
    return [node for node in every if isinstance(node, kind) and test(node)]  # type: ignore[arg-type]


def names_in(nodes: Nodes) -> set[str]:
    return {name.id for name in find(nodes, ast.Name)}


def mentions(value: ast.AST, part: ast.AST) -> bool:
    """Return whether *part*, such as ``self.x``, occurs in *value*, also as ``getattr``."""
    text = ast.unparse(part)
    if find(value, type(part), lambda node: ast.unparse(node) == text):
        return True
    if not isinstance(part, ast.Attribute):
        return False
    asked = f"getattr({ast.unparse(part.value)}, {part.attr!r}"
    return bool(find(value, ast.Call, lambda node: ast.unparse(node).startswith(asked)))


def is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Return whether *node* is a call of the plain name, such as ``super()``."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == name


def argument(call: ast.Call, position: int | None, names: Collection[str]) -> ast.expr | None:
    """Return what a call gives by one of *names* or, unless that is ``None``, at a position."""
    for keyword in call.keywords:
        if keyword.arg in names:
            return keyword.value
    return call.args[position] if position is not None and position < len(call.args) else None


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def text_of(node: ast.AST) -> str:
    """Return the value of a literal text, and ``?`` for all else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "?"


def last_name(node: ast.AST | None) -> str:
    """Return the last name of a dotted one, and nothing of all else."""
    return getattr(node, "attr", getattr(node, "id", ""))


def assigned_names(body: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of each assignment to a name."""
    for node in body:
        for target, value in bindings(node):
            if isinstance(target, ast.Name):
                yield target.id, value


def bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield (target, value) of every kind of assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr
