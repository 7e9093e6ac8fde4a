"""Finds pipelines that workers are wrong for, by reading their source.

One that holds items back until ``close_spider`` loses with its worker all that it holds, though the
items count as done. One that keeps a file open for writing has it opened, and mostly emptied, by
each worker and by each replacement.
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
    """Log a warning for each that holds items until it is closed, or keeps a file to write."""
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
        files = opened_for_writing(cls)
        if files:
            logger.warning(
                "%s.%s keeps a file open for writing in self.%s. Each worker opens it anew, so "
                "they overwrite each other. Keep this pipeline in ITEM_PIPELINES, or give each "
                "worker a file of its own, such as one with os.getpid() in its name.",
                cls.__module__,
                cls.__qualname__,
                ", self.".join(files),
            )


def held_until_close(cls: type) -> list[str]:
    """Names of attributes that ``process_item`` fills and ``close_spider`` reads, sorted."""
    methods = _methods(cls)
    if not {"process_item", "close_spider"} <= methods.keys():
        return []
    filled = {name for node in _reachable("process_item", methods) for name in _filled(node)}
    read = {name for node in _reachable("close_spider", methods) for name in _read(node)}
    return sorted(filled & read)


def opened_for_writing(cls: type) -> list[str]:
    """Names of attributes that hold a file opened for writing under a fixed name, sorted."""
    methods = _methods(cls)
    openers = [methods[name] for name in ("__init__", "open_spider") if name in methods]
    return sorted(
        {name for method in openers for node in ast.walk(method) for name in _opened(node)}
    )


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


def _opened(node: ast.AST) -> Iterator[str]:
    """``self.x = open(..., "w")``, ``self.x = path.open("w")``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return
    call = node.value
    function = call.func
    position = 1 if isinstance(function, ast.Name) else 0
    name = getattr(function, "id", getattr(function, "attr", None))
    modes = call.args[position : position + 1]
    modes += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    # A name made of more than constants may well be one for each worker.
    fixed = all(isinstance(arg, ast.Constant) for arg in call.args) or position == 0
    writes = any(isinstance(m, ast.Constant) and set(str(m.value)) & set("wax+") for m in modes)
    if name == "open" and writes and fixed:
        yield from filter(None, map(_attribute, node.targets))


def _read(node: ast.AST) -> Iterator[str]:
    name = _attribute(node)
    if name is not None and isinstance(getattr(node, "ctx", None), ast.Load):
        yield name


def _attribute(node: ast.AST) -> str | None:
    """``x`` for ``self.x``."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if is_own and node.value.id == "self" else None  # type: ignore[attr-defined]
