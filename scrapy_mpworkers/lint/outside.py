"""Finds what a pipeline does outside of its process: what it writes, and whom it mostly waits for.

It may write files that other workers write too, and commit only at the end what it has stored. It
may wait for a web service, a database, a queue.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import CRAWLER, SPIDER, Origins, first_part
from scrapy_mpworkers.lint.findings import Finding, Kind
from scrapy_mpworkers.lint.known_modules import Opener, known
from scrapy_mpworkers.lint.source import CLOSE_METHODS, ITEM_METHODS, OPEN_METHODS
from scrapy_mpworkers.lint.syntax import (
    argument,
    bindings,
    find,
    is_none,
    last_name,
    names_in,
    text_of,
)

#: ``wb``, ``a+``, ``w:gz``.
_MODE = re.compile(r"[rwax][bt+U]*([:|]\w*)?")
#: Words in a file's name that make it another one in each process.
_OF_A_PROCESS = frozenset(
    {"getpid", "uuid1", "uuid4", "mkstemp", "mkdtemp", "mktemp", "token_hex", "gettempdir"}
    | {"NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory"}
)
#: Methods that write to a database, and words that make it commit without being told.
_WRITING = frozenset({"add", "execute", "executemany", "merge", "add_all", "bulk_insert_mappings"})
_AT_ONCE = frozenset({"autocommit", "isolation_level", "begin"})
#: Methods of answers and connections that do not wait, or not for long.
_BESIDE = frozenset({"close", "cursor", "decode", "json", "raise_for_status", "read", "rollback"})
_AWAITING = (ast.Await, ast.AsyncWith, ast.AsyncFor)


class _Opening(NamedTuple):
    call: ast.Call
    mode: str
    function: Function


def written_files(
    origins: Origins, item_methods: Iterable[str], other_methods: Iterable[str]
) -> list[Finding]:
    """List, in one finding, the files that a pipeline writes and other workers write as well.

    Args:
        item_methods: those that are called with each item.
        other_methods: those that are called before and behind them in the same process.
    """
    at_item = origins.source.reachable(item_methods)
    beside = [one for one in origins.source.reachable(other_methods) if one not in at_item]
    openings = _openings(beside, origins) + [
        one
        for one in _openings(at_item, origins)
        if _holder(one, origins) or "a" in one.mode or not _names_item(one)
    ]
    shared = [one for one in openings if not _is_own_of_process(one, origins)]
    held = sorted({_holder(one, origins) or ast.unparse(one.call) for one in shared})
    truncates = any("a" not in one.mode for one in shared)
    return [Finding(Kind.FILE, tuple(held), truncates)] if held else []


def _openings(functions: list[Function], origins: Origins) -> list[_Opening]:
    return [
        _Opening(call, mode, function)
        for function in functions
        for call in find(function.nodes, ast.Call)
        if (mode := mode_of(call, function, origins))
    ]


def mode_of(call: ast.Call, function: Function, origins: Origins) -> str:
    """Return the mode that a call opens a file for writing with; empty if it does not."""
    origin = origins.of(call, function)
    name = getattr(call.func, "attr", "")
    opener = known().openers.get(origin)
    if opener is None and name == "open":
        is_path = "Path" in origin or origin == "" or "/" in ast.unparse(call.func)
        opener = Opener(0) if is_path else None
    elif name in known().names["appending"]:
        opener = Opener(len(call.args))  # named "mode" only
    if opener is None or _is_no_file(call, opener, function, origins):
        return ""
    return "w" if opener.mode is None else writing_mode(call, opener.mode, {"mode"})


def writing_mode(call: ast.Call, position: int | None, names: Collection[str]) -> str:
    """Return the mode among the arguments, if it is one and writes; empty if not."""
    mode = argument(call, position, names)
    text = mode.value if isinstance(mode, ast.Constant) else "r"
    if not isinstance(text, str) or not _MODE.fullmatch(text):
        return ""  # the name of a file in an archive, say
    return text if set(text) & set("wax+") and "r+" not in text.replace("b", "") else ""


def _is_no_file(call: ast.Call, opener: Opener, function: Function, origins: Origins) -> bool:
    """Return whether it writes to memory, a device, or a file that something else has opened."""
    given = argument(call, opener.fileobj, {"fileobj"})
    if given is not None and not is_none(given):
        return True
    is_method = opener.mode == 0 and isinstance(call.func, ast.Attribute)
    of_path = call.func.value if is_method else None  # type: ignore[attr-defined]
    target = of_path or argument(call, 0, known().names["file_arguments"])
    # A path, a file object, or what something is made of.
    inside = [] if target is None else find(target, ast.expr)
    values = [v for one in inside for v in (one, *function.values.get(getattr(one, "id", ""), []))]
    if any(text_of(one).lower() in known().names["no_files_by_name"] for one in values):
        return True
    no_files = known().names["no_files"]
    return any(origins.of(one, function).startswith(no_files) for one in inside)


def _is_own_of_process(opening: _Opening, origins: Origins) -> bool:
    function = opening.function
    wanted: list[tuple[ast.AST, Function]] = [(one, function) for one in opening.call.args]
    wanted.append((opening.call.func, function))
    seen: set[str] = set()
    while wanted:
        root, function = wanted.pop()
        for node in ast.walk(root):
            word = last_name(node)
            if word in _OF_A_PROCESS or "pid" in word.split("_"):
                return True
            if word in seen:
                continue
            seen.add(word)
            if isinstance(node, ast.Name):
                wanted += [(value, function) for value in function.values.get(word, [])]
            elif origins.source.member(node, function):
                wanted += origins.assignments.get(word, [])
    return False


def _names_item(opening: _Opening) -> bool:
    """Return whether the name depends on what the method was given: each item has its file."""
    of_name = [opening.call.func, *opening.call.args[:1]]
    depending = opening.function.names_of_item(3)
    return any(names_in(node) & depending for node in of_name)


def _holder(opening: _Opening, origins: Origins) -> str | None:
    """Name the attribute that holds the file, or what was made of it, directly or by a local."""
    call, function = opening.call, opening.function
    locals_ = {
        name
        for name, values in function.values.items()
        if any(call in ast.walk(value) for value in values)
    }
    for node in find(function.nodes, (ast.Assign, ast.AnnAssign)):
        for target, value in bindings(node):
            while isinstance(target, ast.Subscript):
                target = target.value
            member = origins.source.member(target, function)
            if member and (call in ast.walk(value) or names_in(value) & locals_):
                return f"self.{member}"
    return None


def committed_at_close(origins: Origins) -> set[str]:
    """Collect the attributes whose ``commit`` is called in ``close_spider``, and not before."""
    at_item = origins.source.reachable(ITEM_METHODS)
    called = {name for name, _ in _calls(at_item, origins)}
    if not called & _WRITING or "commit" in called:
        return set()
    before = origins.source.reachable(OPEN_METHODS + ITEM_METHODS)
    nodes = [node for function in before for node in function.nodes]
    if _AT_ONCE & {getattr(one, "arg", None) or getattr(one, "attr", None) for one in nodes}:
        return set()
    at_close = _calls(origins.source.reachable(CLOSE_METHODS), origins)
    return {f"self.{owner}" for name, owner in at_close if name == "commit" and owner}


def _calls(functions: list[Function], origins: Origins) -> list[tuple[str, str]]:
    """List (method, attribute of the pipeline that it is called on, or nothing)."""
    return [
        (call.func.attr, origins.source.member(call.func.value, function))
        for function in functions
        for call in find(function.nodes, ast.Call)
        if isinstance(call.func, ast.Attribute)
    ]


def waiting(origins: Origins) -> list[Finding]:
    """Find out whether items mostly wait: talk to the network and do nothing that costs more."""
    calls: dict[Kind, set[str]] = {Kind.WAITS: set(), Kind.STORES: set()}
    is_async = False
    for function in origins.source.reachable(ITEM_METHODS):
        for call in find(function.nodes, ast.Call):
            origin = origins.of(call, function)
            kind = _kind(origin)
            if kind is not None:
                if getattr(call.func, "attr", "") not in _BESIDE:
                    calls[kind].add(ast.unparse(call.func))
                around = function.ancestors(call)
                is_async = is_async or any(isinstance(node, _AWAITING) for node in around)
            elif not _is_light(origin):
                return []
    every = (text_of(node) for function in origins.functions for node in function.nodes)
    if any(text.startswith("sqlite") for text in every):
        calls[Kind.STORES].clear()  # a database that is a file: create_engine("sqlite:///…")
    found = ((kind, tuple(sorted(names))) for kind, names in calls.items() if names)
    return [Finding(kind, names, is_async=is_async) for kind, names in found][:1]


def _kind(origin: str) -> Kind | None:
    names = known().names
    if origin.startswith(names["light_of_network"]):
        return None
    if re.fullmatch(r"[\w.]+\.[A-Z]\w*\(\)", origin):
        return None  # UpdateOne(...) is made, and waits for nobody
    if first_part(origin) in names["network"]:
        return Kind.WAITS
    return Kind.STORES if first_part(origin) in names["stores"] else None


def _is_light(origin: str) -> bool:
    """Return whether a call costs little. So do most unknown ones: methods of items and texts."""
    names = known().names
    path = origin.replace("()", "").replace("[]", "")
    if not path or path.startswith(names["light_of_network"]):
        return True
    # For the network and stores, only calls of their classes come here, and those are light.
    light = (CRAWLER, SPIDER, *names["light"], *names["network"], *names["stores"])
    root = first_part(path)
    return hasattr(builtins, root) or root in light
