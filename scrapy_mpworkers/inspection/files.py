"""Files that a pipeline writes: kept open, opened in each process, or appended to by each item."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from scrapy_mpworkers.inspection.code import GIVEN, Function
from scrapy_mpworkers.inspection.findings import Finding, Kind
from scrapy_mpworkers.inspection.origins import Origins
from scrapy_mpworkers.inspection.source import Source
from scrapy_mpworkers.inspection.state import CLOSE_METHODS, ITEM_METHODS, OPEN_METHODS

#: Where the mode is in the arguments of what opens a file.
_OPENERS = {
    **dict.fromkeys(("open()", "io.open()", "codecs.open()", "gzip.open()", "bz2.open()"), 1),
    **dict.fromkeys(("lzma.open()", "aiofiles.open()", "gzip.GzipFile()", "tarfile.open()"), 1),
    **dict.fromkeys(("zipfile.ZipFile()", "h5py.File()", "smart_open.open()"), 1),
}
#: Methods of tables that append to a file, if their mode says so.
_APPENDING = frozenset({"to_csv", "to_json"})
#: What writes to the file of this name, whatever else it is given.
_WRITERS = frozenset(
    {
        *("pyarrow.parquet.ParquetWriter()", "shelve.open()", "tinydb.TinyDB()"),
        *("fastavro.writer()", "pandas.ExcelWriter()", "pandas.HDFStore()"),
    }
)
#: Words in a file's name that make it another one in each process.
_OF_A_PROCESS = frozenset(
    {"getpid", "uuid1", "uuid4", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile"}
    | {"TemporaryDirectory", "token_hex", "gettempdir"}
)


class _Opening(NamedTuple):
    call: ast.Call
    mode: str
    function: Function


def file_finding(source: Source, origins: Origins, has_buffer: bool) -> Finding | None:
    """What files the pipeline writes that other workers write as well.

    Args:
        has_buffer: it holds items until it is closed; the file that they go to is part of that.
    """
    openings = list(_shared(source, origins, has_buffer))
    if not openings:
        return None
    names = sorted({_name(one, source) for one in openings})
    truncates = any("a" not in one.mode for one in openings)
    return Finding(Kind.FILE, tuple(names), truncates)


def _shared(source: Source, origins: Origins, has_buffer: bool) -> Iterator[_Opening]:
    at_item = source.reachable(ITEM_METHODS)
    nodes = {id(one.node) for one in at_item}
    at_open = [one for one in source.reachable(OPEN_METHODS) if id(one.node) not in nodes]
    nodes |= {id(one.node) for one in at_open}
    at_close = [one for one in source.reachable(CLOSE_METHODS) if id(one.node) not in nodes]
    for opening in _openings(at_open, origins):
        if not _is_own_of_process(opening, source, origins):
            yield opening
    for opening in _openings(at_item, origins):
        is_kept = _kept_in(opening, source) is not None
        is_shared = is_kept or "a" in opening.mode or not _names_item(opening, source)
        if is_shared and not _is_own_of_process(opening, source, origins):
            yield opening
    for opening in () if has_buffer else _openings(at_close, origins):
        if not _is_own_of_process(opening, source, origins):
            yield opening


def _openings(functions: list[Function], origins: Origins) -> Iterator[_Opening]:
    for function in functions:
        for node in ast.walk(function.node):
            if isinstance(node, ast.Call) and (mode := _mode(node, function, origins)):
                yield _Opening(node, mode, function)


def _mode(call: ast.Call, function: Function, origins: Origins) -> str:
    """The mode that a call opens a file for writing with; empty if it does not."""
    origin = origins.of(call, function) or ""
    if origin in _WRITERS:
        return "w"
    place = _OPENERS.get(origin)
    if place is None and getattr(call.func, "attr", "") == "open":
        is_path = "Path" in origin or origin == "" or "/" in ast.unparse(call.func)
        place = 0 if is_path else None
    elif getattr(call.func, "attr", "") in _APPENDING:
        place = len(call.args)  # named "mode" only
    if place is None:
        return ""
    given = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    mode = next((str(one.value) for one in given if isinstance(one, ast.Constant)), "r")
    return mode if set(mode) & set("wax+") and "r+" not in mode.replace("b", "") else ""


def _is_own_of_process(opening: _Opening, source: Source, origins: Origins) -> bool:
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
            elif isinstance(node, ast.Attribute) and source.is_own(node.value, function):
                wanted += origins.assignments.get(word, [])
    return False


def _names_item(opening: _Opening, source: Source) -> bool:
    """Whether the file's name depends on what the method was given: a file for each item."""
    function = opening.function
    carried = set(function.parameters) - GIVEN
    for _ in range(3):
        for name, values in function.values.items():
            if any(_words(value) & carried for value in values):
                carried.add(name)
    of_name = [opening.call.func, *opening.call.args[:1]]
    return any(_words(node) & carried for node in of_name)


def _kept_in(opening: _Opening, source: Source) -> str | None:
    """The attribute that holds the file, or what was made of it, directly or by a local."""
    function = opening.function
    locals_ = {name for name, values in function.values.items() if opening.call in _all(values)}
    for node in ast.walk(function.node):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        holds = opening.call in _all([node.value]) or _words(node.value) & locals_
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets if holds else ():
            while isinstance(target, ast.Subscript):
                target = target.value
            if isinstance(target, ast.Attribute) and source.is_own(target.value, function):
                return target.attr
    return None


def _name(opening: _Opening, source: Source) -> str:
    kept = _kept_in(opening, source)
    return f"self.{kept}" if kept else ast.unparse(opening.call)


def _all(values: list[ast.expr]) -> list[ast.AST]:
    return [node for value in values for node in ast.walk(value)]


def _words(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
