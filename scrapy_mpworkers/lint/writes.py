"""Finds what a pipeline writes: files that workers share, and what is committed only at the end."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Finding, Kind
from scrapy_mpworkers.lint.known_modules import Opener, known
from scrapy_mpworkers.lint.source import CLOSE_METHODS, ITEM_METHODS, OPEN_METHODS
from scrapy_mpworkers.lint.syntax import find, is_none, names_in

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


class _Opening(NamedTuple):
    call: ast.Call
    mode: str
    function: Function


def file_finding(origins: Origins, has_buffer: bool) -> Finding | None:
    """Find the files that a pipeline writes and other workers write as well.

    Args:
        has_buffer: it holds items until it is closed; the file that they go to is part of that.
    """
    openings = list(_shared(origins, has_buffer))
    if not openings:
        return None
    names = sorted({_name(one, origins) for one in openings})
    truncates = any("a" not in one.mode for one in openings)
    return Finding(Kind.FILE, tuple(names), truncates)


def _shared(origins: Origins, has_buffer: bool) -> Iterator[_Opening]:
    at_item = origins.source.reachable(ITEM_METHODS)
    nodes = {id(one.node) for one in at_item}
    at_open = [one for one in origins.source.reachable(OPEN_METHODS) if id(one.node) not in nodes]
    nodes |= {id(one.node) for one in at_open}
    at_close = [one for one in origins.source.reachable(CLOSE_METHODS) if id(one.node) not in nodes]
    for opening in _openings(at_open, origins):
        if not _is_own_of_process(opening, origins):
            yield opening
    for opening in _openings(at_item, origins):
        is_kept = _kept_in(opening, origins) is not None
        is_shared = is_kept or "a" in opening.mode or not _names_item(opening)
        if is_shared and not _is_own_of_process(opening, origins):
            yield opening
    for opening in () if has_buffer else _openings(at_close, origins):
        if not _is_own_of_process(opening, origins):
            yield opening


def _openings(functions: list[Function], origins: Origins) -> Iterator[_Opening]:
    for function in functions:
        for call in find(function.nodes, ast.Call):
            if mode := mode_of(call, function, origins):
                yield _Opening(call, mode, function)


def mode_of(call: ast.Call, function: Function, origins: Origins) -> str:
    """Return the mode that a call opens a file for writing with; empty if it does not."""
    origin = origins.of(call, function) or ""
    name = getattr(call.func, "attr", "")
    opener = known().openers.get(origin)
    if opener is None and name == "open" and origin not in known().writers:
        is_path = "Path" in origin or origin == "" or "/" in ast.unparse(call.func)
        opener = Opener(0) if is_path else None
    elif name in known().appending:
        opener = Opener(len(call.args))  # named "mode" only
    if opener is None and origin not in known().writers:
        return ""
    if _is_no_file(call, opener, function, origins):
        return ""
    return "w" if opener is None else writing_mode(call, opener.mode, {"mode"})


def writing_mode(call: ast.Call, position: int | None, names: Collection[str]) -> str:
    """Return the mode among the arguments, if it is one and writes; empty if not."""
    mode = _argument(call, position, names)
    text = mode.value if isinstance(mode, ast.Constant) else "r"
    if not isinstance(text, str) or not _MODE.fullmatch(text):
        return ""  # the name of a file in an archive, say
    return text if set(text) & set("wax+") and "r+" not in text.replace("b", "") else ""


def _is_no_file(
    call: ast.Call, opener: Opener | None, function: Function, origins: Origins
) -> bool:
    """Return whether it writes to memory, a device, or a file that something else has opened."""
    position = None if opener is None else opener.fileobj
    given = _argument(call, position, {"fileobj"})
    if given is not None and not is_none(given):
        return True
    is_method = opener is not None and opener.mode == 0  # of a path
    of_path = call.func.value if is_method and isinstance(call.func, ast.Attribute) else None
    target = of_path or _argument(call, 0, known().file_arguments)
    return target is not None and _is_nobodys(target, function, origins)


def _is_nobodys(target: ast.expr, function: Function, origins: Origins) -> bool:
    """Return whether a path, a file object, or something made of one is no file of a disk."""
    inside = find(target, ast.expr)
    values = [v for one in inside for v in (one, *function.values.get(getattr(one, "id", ""), []))]
    names = [one.value for one in find(values, ast.Constant)]
    if any(isinstance(name, str) and name.lower() in known().no_files_by_name for name in names):
        return True
    return any((origins.of(one, function) or "").startswith(known().no_files) for one in inside)


def _argument(call: ast.Call, position: int | None, names: Collection[str]) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg in names:
            return keyword.value
    return call.args[position] if position is not None and position < len(call.args) else None


def _is_own_of_process(opening: _Opening, origins: Origins) -> bool:
    function = opening.function
    wanted: list[tuple[ast.AST, Function]] = [(one, function) for one in opening.call.args]
    wanted.append((opening.call.func, function))
    seen: set[str] = set()
    while wanted:
        root, function = wanted.pop()
        for node in ast.walk(root):
            word = getattr(node, "attr", getattr(node, "id", ""))
            if word in _OF_A_PROCESS or "pid" in word.split("_"):
                return True
            if word in seen:
                continue
            seen.add(word)
            if isinstance(node, ast.Name):
                wanted += [(value, function) for value in function.values.get(word, [])]
            elif isinstance(node, ast.Attribute) and origins.is_own(node.value, function):
                wanted += origins.assignments.get(word, [])
    return False


def _names_item(opening: _Opening) -> bool:
    """Return whether the name depends on what the method was given: each item has its file."""
    depending = opening.function.names_of_item(3)
    of_name = [opening.call.func, *opening.call.args[:1]]
    return any(names_in(node) & depending for node in of_name)


def _kept_in(opening: _Opening, origins: Origins) -> str | None:
    """Return the attribute that holds the file, or what was made of it, directly or by a local."""
    function = opening.function
    locals_ = {name for name, values in function.values.items() if opening.call in _all(values)}
    for node in find(function.nodes, (ast.Assign, ast.AnnAssign)):
        value = node.value
        holds = value and (opening.call in _all([value]) or names_in(value) & locals_)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets if holds else ():
            while isinstance(target, ast.Subscript):
                target = target.value
            if isinstance(target, ast.Attribute) and origins.is_own(target.value, function):
                return target.attr
    return None


def _name(opening: _Opening, origins: Origins) -> str:
    kept = _kept_in(opening, origins)
    return f"self.{kept}" if kept else ast.unparse(opening.call)


def _all(values: list[ast.expr]) -> list[ast.AST]:
    return [node for value in values for node in ast.walk(value)]


def committed_at_close(origins: Origins) -> set[str]:
    """Collect the attributes whose ``commit`` is called in ``close_spider``, and not before."""
    at_item = origins.source.reachable(ITEM_METHODS)
    calls = {name for name, _ in _calls(at_item, origins)}
    if not calls & _WRITING or "commit" in calls or _commits_at_once(origins):
        return set()
    at_close = _calls(origins.source.reachable(CLOSE_METHODS), origins)
    return {f"self.{owner}" for name, owner in at_close if name == "commit" and owner}


def _calls(functions: list[Function], origins: Origins) -> Iterator[tuple[str, str]]:
    """Yield (method, attribute of the pipeline that it is called on, or nothing)."""
    for function in functions:
        for call in find(function.nodes, ast.Call):
            if isinstance(call.func, ast.Attribute):
                owner = call.func.value
                is_own = isinstance(owner, ast.Attribute) and origins.is_own(owner.value, function)
                yield call.func.attr, owner.attr if is_own else ""  # type: ignore[attr-defined]


def _commits_at_once(origins: Origins) -> bool:
    functions = origins.source.reachable([*OPEN_METHODS, *ITEM_METHODS])
    words = {
        getattr(node, "arg", None) or getattr(node, "attr", None)
        for function in functions
        for node in function.nodes
    }
    return bool(words & _AT_ONCE)
