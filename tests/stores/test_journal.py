"""The journal's file: who may have it, and what is left of it when rows are broken."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.stores.journal import Journal

GOOD = ('["a.B"]', b"frame", '{"7": 1}', '["cmVzdWx0"]')
#: hop, frame, definitions, results
BROKEN: dict[str, tuple[Any, ...]] = {
    "hop is no JSON": ("[", *GOOD[1:]),
    "hop is nested": ("[" * 100_000, *GOOD[1:]),
    "hop of numbers": ("[1]", *GOOD[1:]),
    "hop is a number": ("1", *GOOD[1:]),
    "hop is not UTF-8": (sqlite3.Binary(b'["\xff"]'), *GOOD[1:]),
    "hop is an integer": (7, *GOOD[1:]),
    "frame is an integer": (GOOD[0], 7, *GOOD[2:]),
    "unknown definition": (*GOOD[:2], '{"7": 99}', GOOD[3]),
    "definition of no number": (*GOOD[:2], '{"x": 1}', GOOD[3]),
    "definition that is a list": (*GOOD[:2], '{"7": [1]}', GOOD[3]),
    "definition that is a number": (*GOOD[:2], '{"7": 2}', GOOD[3]),
    "definitions are a list": (*GOOD[:2], "[1]", GOOD[3]),
    "zeros": (*GOOD[:2], "\0" * 64, GOOD[3]),
    "results are no base64": (*GOOD[:3], '["?"]'),
    "results are numbers": (*GOOD[:3], "[1]"),
    "results are null": (*GOOD[:3], "null"),
}


def open_journal(folder: Path, running: bool = True) -> Journal:
    return Journal(folder, cast(Crawler, SimpleNamespace(crawling=running)))


def execute(folder: Path, command: str, rows: list[tuple[Any, ...]]) -> None:
    path = folder / "mpworkers-journal.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.executemany(command, rows)


def test_broken_rows_are_named_and_stay_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_journal(tmp_path).release()
    execute(tmp_path, "INSERT INTO definition VALUES (?, ?)", [(1, b"blob"), (2, 5)])
    rows = [GOOD, *BROKEN.values(), GOOD]
    execute(tmp_path, "INSERT INTO entry VALUES (NULL, ?, ?, ?, ?)", rows)
    execute(tmp_path, "INSERT INTO safe VALUES (?, ?)", [(1, b"digest"), (2, b"other")])

    journal = open_journal(tmp_path)
    journal.release()

    assert [entry.id for entry in journal.left] == [1, len(rows)]
    assert journal.left[0][1:] == (
        ("a.B",),
        (b"frame", {7: b"blob"}, (b"result",)),
        (b"digest",),
    )
    assert journal.left[1].safe == ()
    told = re.findall(r"The entry (\d+) of the journal (\S+) is broken and stays", caplog.text)
    path = str(tmp_path / "mpworkers-journal.sqlite")
    assert told == [(str(n), path) for n in range(2, len(rows))]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM entry").fetchone() == (len(rows),)


DAMAGES = {
    "no table": ("DROP TABLE entry", "no such table"),
    "other columns": ("ALTER TABLE definition RENAME blob TO bulb", "no such column"),
    "last number": (f"INSERT INTO entry VALUES ({2**63 - 1}, '', '', '', '')", "no number left"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_journal_that_is_damaged_as_a_whole_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    command, reason = DAMAGES[damage]
    open_journal(tmp_path).release()
    execute(tmp_path, command, [()])

    with pytest.raises(JournalError, match=rf"journal\.sqlite cannot be used: .*{reason}"):
        open_journal(tmp_path)

    assert not (tmp_path / "mpworkers-journal.lock").exists()


# Who may have it


HOLDER = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from scrapy_mpworkers.stores.journal_file import JobLock
lock = JobLock(Path(sys.argv[1]), SimpleNamespace(crawling=True))
if not os.fork():
    sys.stdin.read()  # as what an application has forked, and outlives the crawl
    sys.exit()  # with the finalizers that it has inherited
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_lock_of_a_crawl_that_was_killed_is_free_at_once_though_it_had_forked(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        with pytest.raises(JournalError) as refused:
            open_journal(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()  # not for the child

        journal = open_journal(tmp_path)
        holder.communicate()  # now the child ends
        assert (tmp_path / "mpworkers-journal.lock").exists()
        with pytest.raises(JournalError, match="this process"):
            open_journal(tmp_path)
        journal.release()

    assert re.fullmatch(
        rf"another crawl \(pid {pid} on \S+\) is using the journal in JOBDIR '{tmp_path}'; .*",
        str(refused.value),
    )
    assert list(tmp_path.glob("*.lock")) == []


def test_second_crawl_of_a_process_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    first = open_journal(tmp_path)
    (tmp_path.parent / "link").symlink_to(tmp_path)

    with pytest.raises(JournalError, match=r"another crawl \(this process\)"):
        open_journal(tmp_path.parent / "link")
    first.release()
    second = open_journal(tmp_path)
    first.release()  # once more, which is no harm to the second

    with pytest.raises(JournalError, match="this process"):
        open_journal(tmp_path)
    second.release()


@pytest.mark.parametrize("is_held", [False, True])
def test_crawl_that_has_failed_at_its_start_is_in_nobodys_way(
    tmp_path: Path, is_held: bool
) -> None:
    failed = open_journal(tmp_path, running=False)
    if not is_held:
        del failed

    open_journal(tmp_path).release()


LOCKERS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.stores.journal_file import JobLock
folder, turns = Path(sys.argv[1]), 0
while turns < 50:
    try:
        lock = JobLock(folder, SimpleNamespace(crawling=True))
    except JournalError:
        continue
    mark = folder / "inside"
    mark.mkdir()  # an error, if another one is there
    mark.rmdir()
    lock.release()
    turns += 1
"""


def test_lock_is_never_had_by_two_though_each_removes_its_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCKERS, str(tmp_path)]
    lockers = [subprocess.Popen(command) for _ in range(3)]

    try:
        assert [locker.wait(60) for locker in lockers] == [0, 0, 0]
    finally:
        for locker in lockers:
            locker.kill()
    assert list(tmp_path.iterdir()) == []


def test_lock_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mpworkers-journal.lock").touch(0o666)
    (tmp_path / "mpworkers-journal.lock").chmod(0o666)
    before = len(os.listdir("/dev/fd"))

    with pytest.raises(JournalError, match="can be written by other users"):
        open_journal(tmp_path)

    assert len(os.listdir("/dev/fd")) == before


def test_lock_is_had_on_a_full_disk(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from types import SimpleNamespace
from scrapy_mpworkers.stores.journal_file import JobLock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
JobLock(Path(sys.argv[1]), SimpleNamespace(crawling=True)).release()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)

    assert list(tmp_path.iterdir()) == []
