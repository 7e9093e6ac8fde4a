"""Results of callbacks on their way through a crawl, which a kill of the crawl shall not lose.

A callback stays in the journal until all its items are safe: each has an outcome, or a row of its
own because it is at a hop. If a later run begins the callback again, only the others come again.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any, NamedTuple

from scrapy import Request, signals
from scrapy.crawler import Crawler
from twisted.internet.defer import CancelledError

from scrapy_mpworkers.stores.journal import Journal
from scrapy_mpworkers.stores.journal_file import SafeResult

#: So many items are known at a time. One that a spider middleware or a pipeline has replaced is
#: never heard of again; it, and whatever else is forgotten, would come again.
_MOST = 10_000


class GivenResult(NamedTuple):
    """An item that was given to the crawl, and the result of a callback that it is."""

    item: Any
    callback: CallbackResults
    safe: SafeResult


class GivenResults:
    """Knows which items of a crawl are results of which callback."""

    def __init__(self, crawler: Crawler, journal: Journal) -> None:
        self._journal = journal
        # By id, with the items themselves: an id is unique only while its object lives.
        self._items: dict[int, GivenResult] = {}
        #: those with a row in the journal, by its number
        self.callbacks: dict[int, CallbackResults] = {}
        for signal in (signals.item_scraped, signals.item_dropped, signals.item_error):
            crawler.signals.connect(self._has_outcome, signal)

    def add(self, result: GivenResult) -> None:
        """Note that an item is given to the crawl."""
        self._items[id(result.item)] = result
        if len(self._items) > _MOST:
            del self._items[next(iter(self._items))]

    def take(self, item: Any) -> GivenResult | None:
        """Return which result *item* is, if it is one, and forget that."""
        return self._items.pop(id(item), None)

    def leave(self) -> None:
        """Take all callbacks out of the journal, because the crawl closes in good order: what is
        left are those with results that nobody reads, or hears of again."""
        for callback in list(self.callbacks.values()):
            callback.leave()

    def _has_outcome(self, item: Any) -> None:
        if (result := self.take(item)) is not None:
            self._journal.note(result.safe)
            result.callback.has_one_safe()


class CallbackResults:
    """The results of one callback in the journal, which an earlier run may have begun.

    They are told apart by what they are, and not by their number: a page that is fetched again may
    have other results.

    Args:
        entry: the number of its row.
        safe: digests of the results that must not be given again.
    """

    def __init__(
        self, journal: Journal, entry: int, safe: tuple[bytes, ...], given: GivenResults
    ) -> None:
        self._journal, self._entry, self._given = journal, entry, given
        self._safe = Counter(safe)
        self._under_way = 0
        self._are_all = False
        given.callbacks[entry] = self

    def is_due(self, result: Any, frame: bytes) -> bool:
        """Return whether *result* is to be given to the crawl, and note it if so.

        Args:
            frame: how it has crossed.
        """
        if isinstance(result, Request):
            return True  # the filter of duplicates, which lasts as long as the journal, decides
        digest = blake2b(frame, digest_size=16).digest()
        if self._safe[digest]:
            self._safe[digest] -= 1
            return False
        self._under_way += 1
        self._given.add(GivenResult(result, self, SafeResult(self._entry, digest)))
        return True

    def has_one_safe(self) -> None:
        """Note that another result need not come again."""
        self._under_way -= 1
        self._look()

    def ended(self, error: BaseException | None) -> None:
        """Note that no other results will come; but if the wait for them was cancelled, or the loop
        torn down, nobody knows."""
        if error is None or (
            isinstance(error, Exception) and not isinstance(error, CancelledError)
        ):
            self._are_all = True
            self._look()

    def leave(self) -> None:
        """Leave the journal, whatever becomes of the results. More than once is no harm."""
        if self._given.callbacks.pop(self._entry, None) is not None:
            self._journal.remove(self._entry)

    def _look(self) -> None:
        if self._are_all and not self._under_way:
            self.leave()
