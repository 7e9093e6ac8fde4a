"""Whoever follows docs/tutorial.md from top to bottom sees what it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from .page import Block, blocks_of, follow, missing
from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: 18 pages, twice.
ITEMS = 36
PAGE = "tutorial.md"
GOES_ON = "rounds=50"
STOPS = "6. Look back"
#: How often somebody looks who waits until a worker is at something.
LOOKS = 20


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


@pytest.mark.full  # of all that CI does with docs/, see .ci/site
def test_who_follows_the_tutorial_sees_what_it_shows(terminal: Terminal) -> None:
    for block in blocks_of(PAGE):
        if block.kind == "heading":
            if block.text == STOPS:
                stop(terminal)
        elif block.kind == "text":
            expect_shown(block.text, terminal)
        elif block.kind == "sh":
            run(block.text, terminal)
        else:
            follow(block, terminal.folder)

    assert "SIGKILL" in (terminal.folder / "report.html").read_text("utf-8")
    assert len(lines_of(terminal.folder / "callbacks.jsonl")) == ITEMS
    assert set(lines_of(terminal.folder / "rounds.jsonl")) <= {
        *lines_of(terminal.folder / "inline.jsonl")
    }
    assert terminal.survivors() == []


def lines_of(feed: Path) -> list[str]:
    return feed.read_text("utf-8").splitlines()


def expect_shown(extract: str, terminal: Terminal) -> None:
    """Wait until each line of an extract has been seen, or the like of it."""
    left = extract.splitlines()
    for output in terminal.more():
        if not (left := missing("\n".join(left), output)):
            break
    assert left == []


def run(commands: str, terminal: Terminal) -> None:
    if GOES_ON in commands:
        terminal.start(commands)
    elif commands.startswith("kill "):
        pid = terminal.last(r"^worker-1 +(\d+)")
        terminal.run(re.sub(r"\d+$", pid, commands.strip()))
    elif "top --once" in commands:
        open_page(terminal)
        look(commands, terminal)
    else:
        terminal.run(commands)


def open_page(terminal: Terminal) -> None:
    address = terminal.last("page is at (.*)")
    with urlopen(address.partition("#")[0]) as answer:
        assert answer.status == 200


def look(commands: str, terminal: Terminal) -> None:
    """Look again until each worker is at an item: a reader is not as quick as this test."""
    for _ in range(LOOKS):
        rows = re.findall(r"^worker-\S+ +\S+ +(\w+)", terminal.run(commands), re.MULTILINE)
        if rows and {*rows} == {"busy"}:
            return
    pytest.fail("the workers were never busy")


def stop(terminal: Terminal) -> None:
    """End the crawl as Ctrl-C does: all that it has begun is done, though a worker was killed."""
    terminal.interrupt()
    assert terminal.last("'mpworkers/workers/deaths/SIGKILL': (.*),") == "1"
    submitted = terminal.last("'mpworkers/items/submitted': (.*),")
    assert terminal.last("'mpworkers/items/done': (.*),") == submitted
    assert len(lines_of(terminal.folder / "rounds.jsonl")) == int(submitted)


def test_a_line_that_nobody_sees_is_missing() -> None:
    shown = "  workers     2 started, 0 died\n  advice      whatever\n"

    assert missing(shown, ["  workers     8 started, 0 died"]) == []
    assert missing(shown, ["  items       8 submitted: 8 done"]) == ["workers 0 started, 0 died"]


def test_what_a_reader_changes_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("A = 1\nB = 2\n")

    follow(Block("diff", "# settings.py\n-A = 1\n+C = 1\n"), tmp_path)

    assert (tmp_path / "settings.py").read_text() == "C = 1\nB = 2\n"
    with pytest.raises(AssertionError, match="has not one"):
        follow(Block("diff", "# settings.py\n-A = 1\n+C = 1\n"), tmp_path)
