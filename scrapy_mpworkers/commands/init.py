"""Puts the add-on into the text of a settings module, where that is sure to be right."""

from __future__ import annotations

import ast
import shutil
import tokenize
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

from scrapy.settings import BaseSettings

from scrapy_mpworkers.crawl.silence import assignments
from scrapy_mpworkers.hops import is_component

_ENTRY = '"scrapy_mpworkers.Addon": 500'
LINE = f"ADDONS = {{{_ENTRY}}}"

NEXT = (
    "Next: move the pipelines that need CPU from ITEM_PIPELINES to MPWORKERS_PIPELINES. "
    "`scrapy mpworkers check` tells what would fail there."
)


_NAMES = ("scrapy_mpworkers.Addon", "scrapy_mpworkers.addon.Addon")


class CannotEdit(Exception):
    """Says why a text is not edited."""


def has_addon(settings: BaseSettings) -> bool:
    addons = settings.getdict("ADDONS").items()
    return any(order is not None and is_component(entry, "addon.Addon") for entry, order in addons)


def with_addon(source: str, addons: int) -> str:
    """Return the text of a settings module with the add-on in it.

    Args:
        addons: how many the project has with the module as it is.

    Raises:
        CannotEdit: nobody can know from the text which add-ons there are in the end.
    """
    end = "\r\n" if "\r\n" in source else "\n"
    found = assignments(source, "ADDONS")
    if found:
        return _inserted(source, _written_out(source, found[-1], addons), end)
    if addons:
        raise CannotEdit("its ADDONS come from elsewhere")
    before = "" if source.endswith("\n") or not source else end
    return f"{source}{before}{end}{LINE}{end}"


def _written_out(source: str, last: ast.Assign | ast.AnnAssign, addons: int) -> ast.Dict:
    """Return the dict that the *last* of the assignments has, if no other line counts."""
    module, value = ast.parse(source), last.value
    line = f"its line {last.lineno}"
    if last.lineno not in {node.lineno for node in module.body}:
        raise CannotEdit(f"{line} sets ADDONS only at times")
    if not isinstance(value, ast.Dict) or None in value.keys:
        raise CannotEdit(f"{line} does not write all of ADDONS out")
    if any(getattr(key, "value", None) in _NAMES for key in value.keys):
        raise CannotEdit(f"{line} switches the add-on off")
    later = (
        node.names[0].name
        for node in module.body
        if isinstance(node, ast.ImportFrom) and node.lineno > last.lineno
    )
    if len(value.keys) != addons or "*" in later:
        raise CannotEdit(f"other lines may change the ADDONS of {line}")
    return value


def _inserted(source: str, addons: ast.Dict, end: str) -> str:
    """Return *source* with our entry in front of the others of a dict."""
    if not addons.keys:
        return _at(source, addons.lineno, addons.col_offset + 1, _ENTRY)
    first = addons.keys[0]
    assert first is not None
    is_below = first.lineno > addons.lineno
    between = f",{end}{' ' * first.col_offset}" if is_below else ", "
    return _at(source, first.lineno, first.col_offset, _ENTRY + between)


def _at(source: str, line: int, offset: int, text: str) -> str:
    """Return *source* with *text* at an offset in bytes, which is how ``ast`` counts."""
    lines = source.split("\n")
    before = lines[line - 1].encode()
    lines[line - 1] = (before[:offset] + text.encode() + before[offset:]).decode()
    return "\n".join(lines)


def read(file: Path) -> tuple[str, str]:
    """Return the text of a module with its line ends as they are, and its encoding."""
    with file.open("rb") as opened:
        encoding, _ = tokenize.detect_encoding(opened.readline)
    return file.read_bytes().decode(encoding), encoding


def diff(file: Path, before: str, after: str) -> Iterator[str]:
    """Yield the lines that show a change of a file."""
    old, new = before.splitlines(), after.splitlines()
    return unified_diff(old, new, str(file), str(file), lineterm="")


def write(file: Path, text: str, encoding: str) -> Path:
    """Write the new text of *file*, and return the copy of the old one."""
    number, copy = 1, file.with_name(f"{file.name}.bak")
    while copy.exists():
        number += 1
        copy = file.with_name(f"{file.name}.bak{number}")
    shutil.copy2(file, copy)
    file.write_bytes(text.encode(encoding))
    return copy
