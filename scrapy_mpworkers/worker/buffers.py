"""Finds pipelines that hold items back until ``close_spider``, by reading their source.

With its worker such a pipeline loses all that it holds, though the items count as done.
"""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
from collections.abc import Iterable, Iterator

logger = logging.getLogger(__name__)

#: Methods by which lists, sets, dicts and deques take something in.
_COLLECTING = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "setdefault", "update"}
)


def warn_of_buffers(pipelines: Iterable[object]) -> None:
    """Log a warning for each of the pipelines that holds something until it is closed."""
    for pipeline in pipelines:
        cls = type(pipeline)
        held = held_until_close(cls)
        if held:
            logger.warning(
                "%s.%s collects items in self.%s until close_spider. Each worker has its own, and "
                "one that dies takes what it holds along, though those items count as done. Store "
                "each item in process_item, or keep this pipeline in ITEM_PIPELINES.",
                cls.__module__,
                cls.__qualname__,
                ", self.".join(held),
            )


def held_until_close(cls: type) -> list[str]:
    """Names of attributes that ``process_item`` fills and ``close_spider`` reads, sorted."""
    methods = _methods(cls)
    if not {"process_item", "close_spider"} <= methods.keys():
        return []
    filled = {name for node in _reachable("process_item", methods) for name in _filled(node)}
    read = {name for node in _reachable("close_spider", methods) for name in _read(node)}
    return sorted(filled & read)


def _methods(cls: type) -> dict[str, ast.AST]:
    """The methods of *cls* and its bases as far as their source is there."""
    methods: dict[str, ast.AST] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = getattr(tree.body[0], "body", []) if tree.body else []
        methods |= {
            node.name: node
            for node in body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
    return methods


def _reachable(name: str, methods: dict[str, ast.AST]) -> Iterator[ast.AST]:
    """Every node of a method and of the methods that it calls on ``self``."""
    todo, seen = [name], {name}
    while todo:
        for node in ast.walk(methods[todo.pop()]):
            yield node
            called = _attribute(node.func) if isinstance(node, ast.Call) else None
            if called in methods and called not in seen:
                seen.add(called)
                todo.append(called)


def _filled(node: ast.AST) -> Iterator[str]:
    """``self.x.append(...)``, ``self.x[...] = ...``, ``self.x += ...``."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in _COLLECTING:
            targets = [node.func.value]
    elif isinstance(node, ast.Assign):
        targets = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
    elif isinstance(node, ast.AugAssign) and isinstance(node.value, (ast.List, ast.Tuple)):
        targets = [node.target]
    yield from filter(None, map(_attribute, targets))


def _read(node: ast.AST) -> Iterator[str]:
    name = _attribute(node)
    if name is not None and isinstance(getattr(node, "ctx", None), ast.Load):
        yield name


def _attribute(node: ast.AST) -> str | None:
    """``x`` for ``self.x``."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if is_own and node.value.id == "self" else None  # type: ignore[attr-defined]
