"""Finds questions to a response in an item that only its request could answer: ``meta``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins

_SEVERED = frozenset({"cb_kwargs", "meta", "request"})
_ITEM_METHODS = frozenset({"process_item", "process_batch"})
_GETTERS = frozenset({"get", "pop", "__getitem__", "setdefault"})
#: What is still the item, or has its fields, when it has been given to one of these.
_WRAPPERS = frozenset({"ItemAdapter", "asdict", "cast", "copy", "deepcopy", "dict", "vars"})
#: By these members of it an object is known as a response, whatever its field is called.
_OF_RESPONSES = frozenset({"cb_kwargs", "css", "follow", "follow_all", "urljoin", "xpath"})
_DEPTH = 6


def severed(origins: Origins) -> Iterator[tuple[ast.AST, Function]]:
    """Yield each use of the request of a response that comes with the item."""
    for function in origins.functions:
        for node in function.nodes:
            base, name = _member(node)
            if base is not None and name in _SEVERED and _is_response(base, function, origins):
                yield node, function


def _member(node: ast.AST) -> tuple[ast.expr | None, str]:
    """Split ``x.meta``, and ``getattr(x, "meta")``, into ``x`` and ``meta``."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        return node.value, node.attr
    is_call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr"
    if is_call and len(node.args) > 1:  # type: ignore[attr-defined]
        return node.args[0], _text(node.args[1])  # type: ignore[attr-defined]
    return None, ""


def _is_response(base: ast.expr, function: Function, origins: Origins) -> bool:
    key = _key(base, function, origins, _DEPTH)
    if key is None:
        return False
    if "resp" in key.lower():
        return True
    text = ast.unparse(base)
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in _OF_RESPONSES
        and ast.unparse(node.value) == text
        for node in function.nodes
    )


def _key(node: ast.expr, function: Function, origins: Origins, depth: int) -> str | None:
    """Return the field of the item that *node* is; ``None`` if it is none."""
    owner, key = _field(node)
    if owner is not None:
        return key if _is_item(owner, function, origins, depth) else None
    keys = (_key(one, f, origins, depth - 1) for one, f in _sources(node, function, origins, depth))
    return next((one for one in keys if one is not None), None)


def _field(node: ast.expr) -> tuple[ast.expr | None, str]:
    """Split ``item["key"]``, ``item.get("key")`` and ``item.key`` into object and key."""
    if isinstance(node, ast.Subscript):
        return node.value, _text(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_getter = node.func.attr in _GETTERS and bool(node.args)
        return (node.func.value, _text(node.args[0])) if is_getter else (None, "")
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    return None, ""


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "?"


def _is_item(node: ast.expr, function: Function, origins: Origins, depth: int) -> bool:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        of_object = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        given = [*node.args, *of_object] if name in _WRAPPERS else []
        return any(_is_item(one, function, origins, depth) for one in given)
    if isinstance(node, ast.Attribute):
        return node.attr == "item" and _is_item(node.value, function, origins, depth)
    if isinstance(node, ast.Name) and function.name in _ITEM_METHODS:
        is_first = function.parameters[:1] == [node.id] and not function.is_inner(node)
        if is_first and node.id not in function.values:
            return True
    sources = _sources(node, function, origins, depth)
    return any(_is_item(one, f, origins, depth - 1) for one, f in sources)


def _sources(
    node: ast.expr, function: Function, origins: Origins, depth: int
) -> list[tuple[ast.expr, Function]]:
    """List the values that a name is given, in its function or by those who call it."""
    if isinstance(node, ast.BoolOp):
        return [(one, function) for one in node.values]
    if not isinstance(node, ast.Name) or depth == 0 or function.is_inner(node):
        return []
    if node.id in function.values:
        return [(one, function) for one in function.values[node.id]]
    return origins.arguments(node.id, function) if node.id in function.parameters else []
