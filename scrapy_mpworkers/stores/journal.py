"""The journal keeps items that are at a hop, so that a crash of the whole crawl loses none.

One thread writes the file; the loop's thread hands it changes and never waits.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import sleep
from typing import NamedTuple, TypeAlias

from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.pool.mailbox import Mailbox
from scrapy_mpworkers.stores.journal_file import JobLock, JournalFile, JournalRow, SafeResult
from scrapy_mpworkers.wire.frames import StoredFrame

logger = logging.getLogger(__name__)

FILE_NAME = "mpworkers-journal.sqlite"

#: Seconds in which changes gather after the first one. Else each would be a transaction of its own,
#: and those cost far more than what is in them.
_GATHER = 0.005


class _Add(NamedTuple):
    row: JournalRow
    committed: Callable[[], None]
    makes_safe: SafeResult | None


#: A job of the thread: a row to add; a result that is safe; or the number of a row to remove;
#: ``None`` ends the thread.
_Change: TypeAlias = _Add | SafeResult | int | None


class Journal:
    """The journal of one crawl, opened and read at once, and written from :meth:`start` on.

    Args:
        folder: the ``JOBDIR``.
        crawler: of the crawl, which uses the journal until it is no longer crawling.

    Raises:
        JournalError: its file cannot be used, or another crawl is using it.
    """

    def __init__(self, folder: Path, crawler: Crawler) -> None:
        path = folder / FILE_NAME
        try:
            # First of all: SQLite has locks that this process would lose if it closed a second
            # descriptor of the file.
            self._lock = JobLock(folder, crawler)
            self._file = JournalFile(path)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the journal {path} cannot be used: {error}") from error
        self.left = self._file.left  #: by an earlier run, oldest first
        self._next_id = self._file.next_id
        self._changes: Mailbox[_Change] = Mailbox()
        self._taken: list[_Change] = []
        self._works = False
        self._closed: Callable[[], None] | None = None
        self._call_in_loop: Callable[[Callable[[], None]], None] | None = None
        self._thread: Thread | None = None

    def start(self, call_in_loop: Callable[[Callable[[], None]], None]) -> None:
        """Start the thread. *call_in_loop* runs a function in the loop's thread soon."""
        self._call_in_loop = call_in_loop
        self._works = True
        self._thread = Thread(target=self._run, name="mpworkers-journal", daemon=True)
        self._thread.start()

    def add(
        self,
        hop: tuple[str, ...],
        frame: StoredFrame,
        committed: Callable[[], None],
        makes_safe: SafeResult | None = None,
    ) -> int | None:
        """Add a row for an item; *committed* is called in the loop's thread once it is safe.

        Args:
            makes_safe: the result of a callback that the item is; noted in the same transaction.

        Returns:
            the number of the row; ``None`` if the journal has failed, and nothing is called.
        """
        if not self._works:
            return None
        row = JournalRow(self._next_id, hop, frame)
        self._next_id += 1
        self._changes.put(_Add(row, committed, makes_safe))
        return row.id

    def note(self, result: SafeResult) -> None:
        """Note that a result of a callback in the journal need not come again."""
        if self._works:
            self._changes.put(result)

    def remove(self, number: int) -> None:
        """Remove the row of an item that has its outcome. More than once is no harm."""
        if self._works:
            self._changes.put(number)

    def close(self, closed: Callable[[], None]) -> None:
        """Write what is left to write and end the thread, then call *closed* in the loop's."""
        self._works = False
        self._closed = closed
        self._changes.put(None)

    def join(self) -> None:
        """Wait for the end of the thread, which is near once *closed* was called."""
        assert self._thread is not None
        self._thread.join()

    def release(self) -> None:
        """Let another crawl use the journal: nobody writes any more."""
        self._lock.release()

    # In the thread

    def _run(self) -> None:
        try:
            with self._file.connected() as database:
                while None not in self._taken:
                    self._take()
                    self._write(database)
                self._file.forget_definitions(database)
        except BaseException as error:  # whatever it is: the items wait for this thread
            self._fail(error)
        assert self._closed is not None
        self._tell([self._closed])

    def _take(self) -> None:
        self._taken = [self._changes.get()]
        if self._taken[0] is not None:
            sleep(_GATHER)
        while self._changes:
            self._taken.append(self._changes.get())

    def _write(self, database: sqlite3.Connection) -> None:
        added = [change for change in self._taken if isinstance(change, _Add)]
        safe = [one.makes_safe for one in added if one.makes_safe is not None]
        safe += [change for change in self._taken if isinstance(change, SafeResult)]
        removed = [change for change in self._taken if isinstance(change, int)]
        self._file.write(database, [one.row for one in added], safe, removed)
        self._tell_committed()

    def _tell_committed(self) -> None:
        self._tell([change.committed for change in self._taken if isinstance(change, _Add)])

    def _tell(self, callbacks: list[Callable[[], None]]) -> None:
        """Call them in the loop's thread, all at once."""

        def tell_all() -> None:
            for callback in callbacks:
                callback()

        assert self._call_in_loop is not None
        with suppress(RuntimeError):  # the loop is closed, after a second Ctrl-C for one
            if callbacks:
                self._call_in_loop(tell_all)

    def _fail(self, error: BaseException) -> None:
        """Let the crawl go on without a journal, and end all waits for it."""
        self._works = False
        logger.error(
            "The journal %s has failed and the crawl goes on without it: %s. If the crawl is "
            "killed now, the items that are at workers are lost",
            self._file.path,
            error,
        )
        self._tell_committed()
        while None not in self._taken:
            self._take()
            self._tell_committed()
