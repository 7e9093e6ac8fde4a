"""Hands a crawl's items to the stores that outlive the process: dead letters and the journal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from weakref import WeakSet

from scrapy.crawler import Crawler
from twisted.internet.defer import CancelledError

from scrapy_mpworkers.backends.base import wants_callbacks
from scrapy_mpworkers.crawl.given_results import CallbackResults, GivenResults
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.shipped_callback import ShippedCallback
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.errors import ItemTimeout, SettingError
from scrapy_mpworkers.eventloop import EventLoop, Latch
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.pool.interface import DeadLettered, resolve
from scrapy_mpworkers.settings import WorkerSettings
from scrapy_mpworkers.stores.dead_letters import (
    DeadLetter,
    DeadLetterFile,
    history,
    readable,
    shown,
)
from scrapy_mpworkers.stores.journal import Journal
from scrapy_mpworkers.stores.journal_file import JournalRow
from scrapy_mpworkers.wire.texts import ascii_safe

logger = logging.getLogger(__name__)


class Persistence:
    """Keeps the items of one crawl from being lost, and sends on what an earlier run has kept.

    Raises:
        SettingError: the file of dead letters cannot be used.
        JournalError: the journal cannot be used.
    """

    def __init__(self, crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> None:
        self._crawler = crawler
        # Else there is nothing to keep, and no file of an earlier run to touch.
        has_work = bool(hops) or wants_callbacks(options, crawler.spidercls)
        self._file = _checked(options) if has_work else None
        self._journal: Journal | None = None
        if options.journal and has_work:
            self._journal = Journal(Path(crawler.settings["JOBDIR"]), crawler)
            self._given = GivenResults(crawler, self._journal)
        self._loop: EventLoop | None = None
        self._written = 0
        self._letter_errors: WeakSet[BaseException] = WeakSet()
        self.kept: Iterable[StoredItem] = ()  #: items of an earlier run, to go on in this one
        self.replaces_start = False  #: whether the spider's own ``start()`` is left out

    def start(self, loop: EventLoop) -> None:
        """Begin to keep the items of the crawl."""
        if self._journal is not None:
            self._journal.start(loop.call_from_thread)
            self.kept = _left(self._journal)
        self._loop = loop  # behind the start: closing a journal that was not started would hang

    def replay(self, letters: Iterable[StoredItem]) -> None:
        """Send *letters* instead of running ``start()``."""
        self.kept = letters
        self.replaces_start = True

    @property
    def has_journal(self) -> bool:
        """Return whether items are kept while they are at a hop."""
        return self._journal is not None

    def take(
        self, hop: Hop, shipped: ShippedItem, kept: StoredItem | None, is_copy: bool = False
    ) -> JournaledTask | None:
        """Return the journal's task for an item at *hop*; ``None`` if no working journal has it.

        Args:
            is_copy: the item itself goes on.
        """
        if self._journal is None or isinstance(kept, JournalEntry):
            return kept if isinstance(kept, JournalEntry) else None
        assert self._loop is not None
        committed = self._loop.create_future()
        result = None if is_copy else self._given.take(shipped.item)
        safe = None if result is None else result.safe
        tell = partial(resolve, committed)
        number = self._journal.add(hop.paths, shipped.stored(), tell, safe)
        if result is not None:
            result.callback.has_one_safe()
        return None if number is None else JournaledTask(self._journal, number, committed)

    def take_callback(
        self, shipped: ShippedCallback, kept: StoredItem | None
    ) -> CallbackResults | None:
        """Put a callback into the journal, whose page would be fetched again.

        Args:
            kept: by an earlier run, if it is from there.

        Returns:
            what keeps track of its results; ``None`` if no working journal has it.
        """
        if self._journal is None:
            return None
        if isinstance(kept, JournalEntry):
            kept.is_taken_over = True
            return CallbackResults(self._journal, kept.number, kept.safe, self._given)
        number = self._journal.add((), shipped.stored(), _nobody_waits)
        return None if number is None else CallbackResults(self._journal, number, (), self._given)

    async def close(self) -> None:
        """Close the journal at the end of the crawl, and log how many dead letters there are."""
        if self._journal is not None:
            self._given.leave()
            if self._loop is not None:
                await self._close_journal(self._journal, self._loop)
            self._journal.release()
        if self._file is not None and self._written:
            logger.warning(
                "Dead letters: %d, written to %s. To send them again: scrapy mpworkers replay %s",
                self._written,
                self._file.path,
                self._file.path,
                extra={"spider": self._crawler.spider},
            )

    async def _close_journal(self, journal: Journal, loop: EventLoop) -> None:
        closed = Latch(loop)
        journal.close(closed.open)
        await closed.wait()
        journal.join()
        if journal.left:
            logger.warning(
                "%d items of an earlier run stay in the journal for the next one",
                len(journal.left),
                extra={"spider": self._crawler.spider},
            )

    # Dead letters

    def dead_letter(
        self,
        hop: tuple[str, ...],
        shipped: ShippedItem | ShippedCallback,
        given_up: DeadLettered,
        is_elsewhere: bool = False,
    ) -> None:
        """Keep an item that was given up, or a callback. Whatever fails here, it is in the log.

        Args:
            hop: paths of its pipelines; of a callback none: a replay fetches the page again.
            is_elsewhere: it went on long ago, so that nobody else tells of its end.
        """
        assert self._crawler.spider is not None
        letter = DeadLetter(
            # Not from the frame, because loading it may be what kills workers.
            item=readable(shipped.content),
            frame=shipped.stored(),
            hop=hop,
            deaths=given_up.deaths,
            attempts=given_up.attempts,
            worker=given_up.worker,
            spider=self._crawler.spider.name,
            **history(given_up.error),
        )
        self._letter_errors.add(given_up.error)
        # Scrapy's own record of the error has the item, and the stack on lines of its own.
        is_told = not hop or (isinstance(given_up.error, ItemTimeout) and not is_elsewhere)
        if not self._write(letter) and (self._file is not None or not is_told):
            self._log(letter)

    def is_dead_letter(self, error: BaseException) -> bool:
        """Return whether there is a dead letter with this very *error*."""
        # Not by "in", which asks for the hash of exceptions: those of dataclasses have none.
        return any(error is one for one in self._letter_errors)

    def _write(self, letter: DeadLetter) -> bool:
        if self._file is None:
            return False
        try:
            self._file.add(letter)
        except OSError as error:
            logger.error("A dead letter could not be written to %s: %s", self._file.path, error)
            return False
        self._written += 1
        return True

    def _log(self, letter: DeadLetter) -> None:
        logger.error(
            "Dead letter, on its way to %s (%s: %s): %s",
            ", ".join(letter.hop) or "a callback",
            letter.reason,
            ascii_safe(letter.error),
            shown(letter.item),
            extra={"spider": self._crawler.spider},
        )


class JournaledTask:
    """An item at a hop, which is in the journal from its arrival to its outcome.

    Await ``committed``, if there is one, before you submit the item: then a crash cannot lose the
    item.
    """

    def __init__(
        self, journal: Journal, number: int, committed: Awaitable[None] | None = None
    ) -> None:
        self._journal = journal
        self.number = number  #: of its row
        self.committed = committed

    def ended(self, error: Exception | None) -> None:
        """Remove the entry, because the item has its outcome (a dead letter is written by now), or
        because it never got to the hop, such as an item that can no longer be pickled."""
        # If the wait was cancelled, it has none.
        if not isinstance(error, CancelledError):
            self._journal.remove(self.number)


class JournalEntry(JournaledTask, StoredItem):
    """An item that was at a hop when an earlier run was killed, or a callback that was under way.

    The entry stays until the item has an outcome; if it cannot go on now, it stays for a later run.

    Attributes:
        is_taken_over: ``CallbackResults`` have its row now.
    """

    is_taken_over = False

    def __init__(self, journal: Journal, row: JournalRow) -> None:
        super().__init__(journal, row.id)
        self.hop, self.frame, self.safe = row.hop, row.frame, row.safe

    def ended(self, error: Exception | None) -> None:
        if not self.is_taken_over:
            super().ended(error)


def _nobody_waits() -> None:
    # A crash before the row is written loses the request. But it has been on no record since its
    # download began, when it left Scrapy's queue on disk; so a moment more changes nothing.
    ...


def _left(journal: Journal) -> Iterator[JournalEntry]:
    if journal.left:
        logger.info("Resuming %d items of an earlier run from the journal", len(journal.left))
    while journal.left:
        yield JournalEntry(journal, journal.left.popleft())


def _checked(options: WorkerSettings) -> DeadLetterFile | None:
    if options.dead_letters is None:
        return None
    file = DeadLetterFile(options.dead_letters)
    try:
        file.check()
    except OSError as error:
        raise SettingError(
            f"MPWORKERS_DEAD_LETTERS is {str(file.path)!r}, but that file cannot be used: {error}."
        ) from None
    return file
