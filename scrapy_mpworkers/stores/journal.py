"""The journal: items that are at a hop, in a file, so that a crash of the whole crawl loses none.

SQLite in the ``JOBDIR``, in WAL mode: a transaction that was committed outlives the process, and
needs no fsync. One thread owns the connection; the loop's thread hands it orders and never waits.
All orders that have come meanwhile become one transaction.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any, NamedTuple, TypeAlias

from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.pool.mailbox import Mailbox
from scrapy_mpworkers.stores.job_lock import JobLock
from scrapy_mpworkers.stores.journal_entries import Entry, entries
from scrapy_mpworkers.stores.private_files import open_private
from scrapy_mpworkers.wire.frames import StoredFrame

logger = logging.getLogger(__name__)

FILE_NAME = "mpworkers-journal.sqlite"

#: Seconds in which orders gather after the first one. Else each would be a transaction of its own,
#: and those cost far more than what is in them.
_GATHER = 0.005
#: Rows of one statement. Each statement gives up the interpreter lock and has to wait to get it
#: back, so one for each row would take its time. (SQLite before 3.32 allows 999 variables.)
_ROWS = 200

_HIGHEST = (1 << 63) - 1  # of a row, in SQLite
_VERSION = 2  # PRAGMA user_version; 0 is a new file
_TABLES = """
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    hop TEXT NOT NULL,        -- JSON: import paths of its pipelines
    frame BLOB NOT NULL,
    definitions TEXT NOT NULL, -- JSON: the number in the frame -> definition.id
    results TEXT NOT NULL      -- JSON: what earlier hops made of the item, in base64
);
CREATE TABLE definition (id INTEGER PRIMARY KEY, blob BLOB NOT NULL);
PRAGMA user_version = 2;
"""


class _Add(NamedTuple):
    entry: Entry
    committed: Callable[[], None]


class _Remove(NamedTuple):
    id: int


class _End:
    pass


_Order: TypeAlias = "_Add | _Remove | _End"


class Journal:
    """The journal of one crawl. Opened and read at once, written from :meth:`start` on.

    Args:
        folder: the ``JOBDIR``.
        is_running: whether the crawl is still to use it; asked when another one wants to.

    Raises:
        JournalError: its file cannot be used, or another crawl is using it.
    """

    def __init__(self, folder: Path, is_running: Callable[[], bool]) -> None:
        self._path = folder / FILE_NAME
        try:
            # First of all: SQLite has locks that this process would lose if it closed a second
            # descriptor of the file.
            self._lock = JobLock(folder, is_running)
            _expect_private(self._path)
            with closing(self._connect()) as database:
                #: what an earlier run has left, oldest first
                self.left = deque(entries(database, self._path))
                self._next_id = _first_free(database, "entry")
                self._next_definition = _first_free(database, "definition")
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the journal {self._path} cannot be used: {error}") from error
        self._definitions: dict[int, int] = {}  # by number in frames of this run
        self._hops: dict[tuple[str, ...], str] = {}  # as JSON
        self._orders: Mailbox[_Order] = Mailbox()
        self._taken: list[_Order] = []
        self._works = False

    def start(self, call_in_loop: Callable[[Callable[[], None]], None]) -> None:
        """Start the thread. *call_in_loop* runs a function in the loop's thread soon."""
        self._call_in_loop = call_in_loop
        self._works = True
        self._thread = Thread(target=self._run, name="mpworkers-journal", daemon=True)
        self._thread.start()

    def add(
        self, hop: tuple[str, ...], frame: StoredFrame, committed: Callable[[], None]
    ) -> int | None:
        """Enter an item; *committed* is called in the loop's thread once it is safe.

        Returns:
            the number of the entry; ``None`` if the journal has failed, and nothing is called.
        """
        if not self._works:
            return None
        entry = Entry(self._next_id, hop, frame)
        self._next_id += 1
        self._orders.put(_Add(entry, committed))
        return entry.id

    def remove(self, number: int) -> None:
        """The item has its outcome. More than once is no harm."""
        if self._works:
            self._orders.put(_Remove(number))

    def close(self, closed: Callable[[], None]) -> None:
        """Write what is left to write and end the thread, then call *closed* in the loop's."""
        self._works = False
        self._closed = closed
        self._orders.put(_End())

    def join(self) -> None:
        """After *closed*: the thread is at its end."""
        self._thread.join()

    def release(self) -> None:
        """Nobody writes any more: another crawl may use the journal."""
        self._lock.release()

    # In the thread

    def _run(self) -> None:
        try:
            with closing(self._connect()) as database:
                while self._write(database, self._take()):
                    pass
                _forget_definitions(database)
        except BaseException as error:  # whatever it is: the items wait for this thread
            self._fail(error)
        self._tell(self._closed)

    def _take(self) -> list[_Order]:
        self._taken = [self._orders.get()]
        if not isinstance(self._taken[0], _End):
            sleep(_GATHER)
        while self._orders:
            self._taken.append(self._orders.get())
        return self._taken

    def _write(self, database: sqlite3.Connection, orders: list[_Order]) -> bool:
        """One transaction; whether more may come."""
        added = [order for order in orders if isinstance(order, _Add)]
        removed = [(order.id,) for order in orders if isinstance(order, _Remove)]
        with database:
            database.execute("BEGIN IMMEDIATE")
            rows = [self._row(database, order.entry) for order in added]
            _in_parts(database, "INSERT INTO entry VALUES {}", "(?, ?, ?, ?, ?)", rows)
            # Behind the insertions: an item that was fast is added and removed at once.
            _in_parts(database, "DELETE FROM entry WHERE id IN ({})", "?", removed)
        self._tell_committed(added)
        return not isinstance(orders[-1], _End)

    def _row(self, database: sqlite3.Connection, entry: Entry) -> tuple[Any, ...]:
        numbers = {n: self._define(database, n, b) for n, b in entry.frame.definitions.items()}
        if entry.hop not in self._hops:
            self._hops[entry.hop] = json.dumps(entry.hop)
        frame = entry.frame
        results = json.dumps([b64encode(result).decode() for result in frame.results])
        return entry.id, self._hops[entry.hop], frame.data, json.dumps(numbers), results

    def _define(self, database: sqlite3.Connection, number: int, blob: bytes) -> int:
        if number not in self._definitions:
            database.execute("INSERT INTO definition VALUES (?, ?)", (self._next_definition, blob))
            self._definitions[number] = self._next_definition
            self._next_definition += 1
        return self._definitions[number]

    def _tell_committed(self, added: Iterable[_Add]) -> None:
        callbacks = [order.committed for order in added]

        def tell_all() -> None:
            for committed in callbacks:
                committed()

        if callbacks:
            self._tell(tell_all)

    def _tell(self, news: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, after a second Ctrl-C for one
            self._call_in_loop(news)

    def _fail(self, error: BaseException) -> None:
        """The crawl goes on without a journal, and nothing waits for it."""
        self._works = False
        logger.error(
            "The journal %s has failed and the crawl goes on without it: %s. If the crawl is "
            "killed now, the items that are at workers are lost",
            self._path,
            error,
        )
        orders = self._taken
        while True:
            self._tell_committed(order for order in orders if isinstance(order, _Add))
            if orders and isinstance(orders[-1], _End):
                return
            orders = self._take()

    def _connect(self) -> sqlite3.Connection:
        # No transactions but our own.
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, self._path)
        except BaseException:
            database.close()
            raise
        return database


def _in_parts(
    database: sqlite3.Connection, statement: str, places: str, rows: list[tuple[Any, ...]]
) -> None:
    for begin in range(0, len(rows), _ROWS):
        part = rows[begin : begin + _ROWS]
        command = statement.format(", ".join([places] * len(part)))
        database.execute(command, tuple(chain.from_iterable(part)))


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise JournalError(
            f"the journal {path} has version {version}, and this release of scrapy_mpworkers "
            f"knows only version {_VERSION}; finish that crawl with the release that began it, or "
            "remove the file and lose its items"
        )
    database.execute("PRAGMA journal_mode = WAL")
    # A commit then outlives the process, though perhaps not a loss of power.
    database.execute("PRAGMA synchronous = NORMAL")
    if version == 0:
        database.executescript(f"BEGIN; {_TABLES} COMMIT;")


def _expect_private(path: Path) -> None:
    os.close(open_private(path))
    # SQLite reads these too; it gives them the mode of the file above when it makes them.
    for companion in (f"{path}-wal", f"{path}-shm"):
        if os.path.lexists(companion):
            os.close(open_private(Path(companion)))


def _first_free(database: sqlite3.Connection, table: str) -> int:
    [highest] = database.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608
    if highest == _HIGHEST:
        raise sqlite3.DataError(f"the table {table!r} has no number left after {highest}")
    return 1 if highest is None else int(highest) + 1


def _forget_definitions(database: sqlite3.Connection) -> None:
    [count] = database.execute("SELECT count(*) FROM entry").fetchone()
    if not count:
        database.execute("DELETE FROM definition")
