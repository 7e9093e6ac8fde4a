"""Results of callbacks that need not come again, if a later run fetches the page another time.

A callback that yields part by part stays in the journal until its end. By then its first items may
be in a feed, or at a hop, where they have rows of their own.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any

from scrapy import Request, signals
from scrapy.crawler import Crawler

from scrapy_mpworkers.stores.journal import Journal
from scrapy_mpworkers.stores.journal_file import SettledResult


class GivenResults:
    """Knows which items on their way through a crawl are results of which callback.

    An item that a spider middleware or a pipeline has replaced by another one is not known: it
    comes again.
    """

    def __init__(self, crawler: Crawler, journal: Journal) -> None:
        self._journal = journal
        # By id, with the items themselves: an id is unique only while its object lives.
        self._items: dict[int, tuple[Any, SettledResult]] = {}
        for signal in (signals.item_scraped, signals.item_dropped, signals.item_error):
            crawler.signals.connect(self._has_outcome, signal)

    def add(self, item: Any, result: SettledResult) -> None:
        """Note that *item* is given to the crawl as *result*."""
        self._items[id(item)] = (item, result)

    def take(self, item: Any) -> SettledResult | None:
        """Return which result *item* is, if it is one, and forget that."""
        return self._items.pop(id(item), (None, None))[1]

    def forget(self, entry: int) -> None:
        """Forget the results of a callback."""
        gone = [key for key, (_, result) in self._items.items() if result.entry == entry]
        for key in gone:
            del self._items[key]

    def _has_outcome(self, item: Any) -> None:
        if (result := self.take(item)) is not None:
            self._journal.settle(result)


class CallbackResults:
    """The results of one callback, which an earlier run may have begun.

    They are told apart by what they are, and not by their number: a page that is fetched again may
    have other results.

    Args:
        entry: the number of its row.
        settled: digests of the results that must not be given again.
    """

    def __init__(self, entry: int, settled: tuple[bytes, ...], given: GivenResults) -> None:
        self._entry, self._given = entry, given
        self._settled = Counter(settled)
        self._has_ended = False

    def is_due(self, result: Any, frame: bytes) -> bool:
        """Return whether *result* is to be given to the crawl, and note it if so.

        Args:
            frame: how it has crossed.
        """
        if isinstance(result, Request):
            return True  # the filter of duplicates, which lasts as long as the journal, decides
        digest = blake2b(frame, digest_size=16).digest()
        if self._settled[digest]:
            self._settled[digest] -= 1
            return False
        if not self._has_ended:
            self._given.add(result, SettledResult(self._entry, digest))
        return True

    def ended(self) -> None:
        """Note that no later run begins the callback again."""
        self._has_ended = True
        self._given.forget(self._entry)
