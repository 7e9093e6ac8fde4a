"""Reads a page of docs/ as somebody does who types what it says."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).parents[3] / "docs"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```|^## ([^\n]*)$", re.MULTILINE | re.DOTALL)
_URL = re.compile(r"\w+://\S+")
_NUMBER = re.compile(r"\d[\d.]*(?: (?:ms|s|Ki?B|MiB)\b)?")

#: What depends on the machine: its CPUs, and whether the dead worker had anything.
_CHANCE = re.compile(r"advice|redelivered|run again|runs again|…")


class Block(NamedTuple):
    """Code, or a heading, in the order of the page."""

    kind: str
    text: str


def blocks_of(name: str) -> list[Block]:
    """The blocks of a page and its headings, whose kind is ``heading``."""
    found = _FENCE.findall((DOCS / name).read_text("utf-8"))
    return [Block("heading", title) if title else Block(kind, text) for kind, text, title in found]


def follow(block: Block, folder: Path) -> None:
    """Write a block of Python to the file that its first line names, or change that file.

    ``# path`` is a new file, or a new text of one; ``# path, at the end`` adds to one; the lines of
    a ``diff`` take each other's place.
    """
    first, _, text = block.text.partition("\n")
    name, _, where = first.removeprefix("# ").partition(", ")
    file = folder / name
    if block.kind == "diff":
        old, new = (lines(text, sign) for sign in "-+")
        before = file.read_text("utf-8")
        assert before.count(old) == 1, f"{name} has not one {old!r}"
        text = before.replace(old, new)
    elif where:
        assert where == "at the end"
        text = f"{file.read_text('utf-8')}\n{text}"
    file.write_text(text, "utf-8")


def lines(diff: str, sign: str) -> str:
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] == sign)


def missing(text: str, output: Iterable[str]) -> list[str]:
    """The lines of an extract that no line of *output* is like, whatever their figures are."""
    seen = {plain(line) for line in output}
    shown = [plain(line) for line in text.splitlines() if not _CHANCE.search(line)]
    return [line for line in shown if line and not get_close_matches(line, seen, 1, cutoff=0.75)]


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    line = re.sub("[█░]+", "█", _NUMBER.sub("0", _URL.sub("url", line)))
    return " ".join(line.split()[:14])
