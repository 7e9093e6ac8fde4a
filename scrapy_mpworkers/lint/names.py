"""Finds the names that statements bind, and where imported ones come from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
#: What binds a name without an assignment.
NAMING = ast.ClassDef | FunctionNode | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
#: What has names of its own.
_SCOPES = (
    *(ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


def assigned_names(body: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        for target, value in bindings(node):
            if isinstance(target, ast.Name):
                yield target.id, value


def imported_names(
    nodes: Iterable[ast.AST], module: str, package: str
) -> Iterator[tuple[str, str]]:
    """Yield (local name, dotted path) of each import among *nodes*.

    The path of what is the project's own begins with a dot: it may be called like a library.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                path = one.name if one.asname else one.name.partition(".")[0]
                yield one.asname or path, _marked(path, module)
        elif isinstance(node, ast.ImportFrom):
            origin = _from_where(node, module, package)
            for one in node.names:
                yield one.asname or one.name, f"{origin}.{one.name}"


def _from_where(node: ast.ImportFrom, module: str, package: str) -> str:
    if not node.level:
        return _marked(node.module or "", module)
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1] + ([node.module] if node.module else [])
    return "." + ".".join(filter(None, parts))


def _marked(path: str, module: str) -> str:
    is_own = path.partition(".")[0] == module.partition(".")[0]
    return f".{path}" if is_own else path


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all that runs when a module is imported, but not what functions and classes hold."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, _SCOPES):
            yield from top_level(node)


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


def all_parameters(function: ast.Lambda | FunctionNode) -> set[str]:
    args = function.args
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {one.arg for one in listed if one is not None}
