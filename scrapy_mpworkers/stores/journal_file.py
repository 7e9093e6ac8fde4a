"""The files of the journal in the ``JOBDIR``: its rows, and a lock.

The lock gives one crawl at a time the journal: two would process each other's items. It is the
kernel's, on a file that says who has it, and ends with its process, however that ends, so that a
crawl which was killed can be resumed at once.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import weakref
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.stores.private_files import names, open_private, try_to_lock
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.texts import ascii_safe, named

logger = logging.getLogger(__name__)

_LOCK = "mpworkers-journal.lock"  # its name

#: Rows of one statement. Each statement gives up the interpreter lock and has to wait to get it
#: back, so one for each row would take its time. (SQLite before 3.32 allows 999 variables.)
_ROWS = 200

_HIGHEST = (1 << 63) - 1  # of a row, in SQLite
_VERSION = 3  # PRAGMA user_version; 0 is a new file
_TABLES = """
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    hop TEXT NOT NULL,        -- JSON: import paths of its pipelines
    frame BLOB NOT NULL,
    definitions TEXT NOT NULL, -- JSON: the number in the frame -> definition.id
    results TEXT NOT NULL      -- JSON: what earlier hops made of the item, in base64
);
CREATE TABLE definition (id INTEGER PRIMARY KEY, blob BLOB NOT NULL);
CREATE TABLE safe (entry INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE INDEX safe_of ON safe (entry);
PRAGMA user_version = 3;
"""
_text_of_hop = lru_cache(json.dumps)  # a crawl has few
#: Errors that the parts of a broken row raise.
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


class JournalRow(NamedTuple):
    """An item that is at a hop, or the request of a callback that is under way.

    Attributes:
        hop: import paths of its pipelines; none for a callback.
        safe: of a callback, digests of the results that need not come again.
    """

    id: int
    hop: tuple[str, ...]
    frame: StoredFrame
    safe: tuple[bytes, ...] = ()


class SafeResult(NamedTuple):
    """A result of the callback in the row *entry* that need not come again: it has an outcome, or a
    row of its own."""

    entry: int
    digest: bytes


class JournalFile:
    """The file of one crawl, read at once, and written through the connection of one thread.

    Raises:
        JournalError: another release has made the file.
        OSError, sqlite3.Error: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # SQLite reads all three; it gives the last two the mode of the first when it makes them.
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            if file == path or os.path.lexists(file):
                os.close(open_private(file))
        with self.connected() as database:
            self.left = deque(self._rows(database))  #: by an earlier run, oldest first
            self.next_id = _first_free(database, "entry")
            self._next_definition = _first_free(database, "definition")
        self._definitions: dict[int, int] = {}  # by number in frames of this run
        self._with_safe = {row.id for row in self.left if row.safe}

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Open the file meanwhile, and make its tables if it is new."""
        # No transactions but our own.
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        with closing(database):
            self._prepare(database)
            yield database

    def write(
        self,
        database: sqlite3.Connection,
        added: Sequence[JournalRow],
        safe: Sequence[SafeResult],
        removed: Sequence[int],
    ) -> None:
        """Add and remove rows in one transaction."""
        with database:
            database.execute("BEGIN IMMEDIATE")
            rows = [self._packed(database, row) for row in added]
            _in_parts(database, "INSERT INTO entry VALUES {}", "(?, ?, ?, ?, ?)", rows)
            _in_parts(database, "INSERT INTO safe VALUES {}", "(?, ?)", list(safe))
            self._with_safe.update(one.entry for one in safe)
            # Behind the insertions: an item that was fast is added and removed at once.
            ids = [(number,) for number in removed]
            _in_parts(database, "DELETE FROM entry WHERE id IN ({})", "?", ids)
            ids = [(number,) for number in removed if number in self._with_safe]
            _in_parts(database, "DELETE FROM safe WHERE entry IN ({})", "?", ids)
            self._with_safe.difference_update(removed)

    def forget_definitions(self, database: sqlite3.Connection) -> None:
        """Delete the definitions, unless rows are left that may need them."""
        database.execute("DELETE FROM definition WHERE NOT EXISTS (SELECT * FROM entry)")

    def _prepare(self, database: sqlite3.Connection) -> None:
        [version] = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise JournalError(
                f"the journal {self.path} has version {version}, and this release of "
                f"scrapy_mpworkers knows only version {_VERSION}; finish that crawl with the "
                "release that began it, or remove the file and lose its items"
            )
        database.execute("PRAGMA journal_mode = WAL")
        # A commit then outlives the process without an fsync, though perhaps not a loss of power.
        database.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            database.executescript(f"BEGIN; {_TABLES} COMMIT;")

    def _rows(self, database: sqlite3.Connection) -> Iterator[JournalRow]:
        """Yield the rows that can be read. Log the others, which stay in the file."""
        database.text_factory = bytes  # text that is not UTF-8 is the fault of its row alone
        blobs = dict(database.execute("SELECT id, blob FROM definition"))
        safe: dict[int, list[bytes]] = {}
        for entry, digest in database.execute("SELECT entry, digest FROM safe"):
            safe.setdefault(entry, []).append(digest)
        for row in database.execute("SELECT * FROM entry ORDER BY id"):
            try:
                yield _unpacked(row, blobs)._replace(safe=tuple(safe.get(row[0], ())))
            except _BROKEN as error:
                logger.error(
                    "The entry %d of the journal %s is broken and stays there; its item is not "
                    "resumed (%s)",
                    row[0],
                    self.path,
                    ascii_safe(named(error)),
                )

    def _packed(self, database: sqlite3.Connection, row: JournalRow) -> tuple[Any, ...]:
        frame = row.frame
        numbers = {n: self._define(database, n, blob) for n, blob in frame.definitions.items()}
        results = json.dumps([b64encode(result).decode() for result in frame.results])
        return row.id, _text_of_hop(row.hop), frame.data, json.dumps(numbers), results

    def _define(self, database: sqlite3.Connection, number: int, blob: bytes) -> int:
        if number not in self._definitions:
            database.execute("INSERT INTO definition VALUES (?, ?)", (self._next_definition, blob))
            self._definitions[number] = self._next_definition
            self._next_definition += 1
        return self._definitions[number]


def _unpacked(row: tuple[Any, ...], blobs: dict[int, Any]) -> JournalRow:
    number, hop, frame, numbers, results = row
    # memoryview() and + refuse a row in which a blob is no blob, or a path no text.
    definitions = {int(n): bytes(memoryview(blobs[at])) for n, at in json.loads(numbers).items()}
    paths = tuple(path + "" for path in json.loads(hop))
    data = bytes(memoryview(frame))
    packed = tuple(b64decode(result, validate=True) for result in json.loads(results))
    return JournalRow(number, paths, StoredFrame(data, definitions, packed))


def _in_parts(
    database: sqlite3.Connection, statement: str, placeholders: str, rows: list[tuple[Any, ...]]
) -> None:
    for begin in range(0, len(rows), _ROWS):
        part = rows[begin : begin + _ROWS]
        command = statement.format(", ".join([placeholders] * len(part)))
        database.execute(command, tuple(chain.from_iterable(part)))


def _first_free(database: sqlite3.Connection, table: str) -> int:
    [highest] = database.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608
    if highest == _HIGHEST:
        raise sqlite3.DataError(f"the table {table!r} has no number left after {highest}")
    return 1 if highest is None else int(highest) + 1


class JobLock:
    """Keeps other crawls from the journal in *folder*, those of this process too.

    Args:
        folder: the ``JOBDIR``.
        crawler: has the lock as long as it is crawling: a crawl that failed while it was built
            may not have released it.

    Raises:
        JournalError: another crawl has it.
        OSError: it cannot be had at all.
    """

    _finalizer: weakref.finalize[..., Any]

    # The kernel's lock belongs to the whole process, so crawls of one process look here.
    _here: ClassVar[weakref.WeakValueDictionary[Path, JobLock]] = weakref.WeakValueDictionary()

    def __init__(self, folder: Path, crawler: Crawler) -> None:
        self._path = folder.resolve() / _LOCK
        self._crawler = crawler
        self._pid = os.getpid()  # a forked child inherits this object, but not the lock
        other = self._here.get(self._path)
        if other is not None and other._pid == self._pid and other._finalizer.alive:
            # Scrapy says of a crawl that failed while it was built that it is not crawling.
            if other._crawler.crawling:
                raise _in_use(folder, "this process")
            other.release()
        descriptor = self._locked(folder)
        self._here[self._path] = self
        # The lock also ends when nobody refers to the journal, and at the end of the process.
        self._finalizer = weakref.finalize(self, _release, self._path, descriptor, self._pid)

    def release(self) -> None:
        """Let other crawls have it. More than once is no harm."""
        self._finalizer()

    def _locked(self, folder: Path) -> int:
        while True:
            descriptor = open_private(self._path)
            if not try_to_lock(descriptor):
                holder = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise _in_use(folder, holder or "another process")
            if names(self._path, descriptor):
                with suppress(OSError):  # a full disk: the lock is there all the same
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"pid {self._pid} on {socket.gethostname()}\n".encode())
                return descriptor
            os.close(descriptor)  # whoever had it has removed it meanwhile


def _release(path: Path, descriptor: int, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child, which has inherited this and must leave the file alone
    try:
        with suppress(OSError):  # a folder that has become read-only: the file may stay
            if names(path, descriptor):
                path.unlink()
    finally:
        os.close(descriptor)


def _in_use(folder: Path, holder: str) -> JournalError:
    return JournalError(
        f"another crawl ({holder}) is using the journal in JOBDIR {str(folder)!r}; wait for its "
        "end, or give each crawl a JOBDIR of its own"
    )
