"""Requests whose callbacks were given up go out again: their pages are fetched another time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import Response
from twisted.python.failure import Failure

from scrapy_mpworkers.callbacks import Results
from scrapy_mpworkers.crawl.patches import replace_call_spider
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.errors import HopGoneError
from scrapy_mpworkers.wire.codec import ParentCodec

#: In the ``meta`` of such a request, where it outlives a redirection and a retry.
_KEY = "_mpworkers_letter"


class ReplayedRequests:
    """Knows which requests of a crawl come from letters, and tells those of their end.

    A letter is a record of an earlier run: a dead letter, or an entry of the journal.

    Attributes:
        are_told: whether each callback is called by :meth:`told`.
    """

    def __init__(self, crawler: Crawler, codec: ParentCodec) -> None:
        self._crawler = crawler
        self._codec = codec
        self.are_told = False
        self._letters: dict[int, StoredItem] = {}
        self._numbers = itertools.count()

    def begin(self, letter: StoredItem) -> Request:
        """Return the request of *letter*, which no filter of duplicates will hold back.

        Raises:
            UnreadableError: it cannot be made again.
            HopGoneError: nothing would learn of its end.
        """
        if not self.are_told:  # this crawl has no callback in a worker
            self.are_told = replace_call_spider(self._crawler, self._called)
            if not self.are_told:
                raise HopGoneError("this version of Scrapy does not let its callback be watched")
        request: Request = self._codec.open(letter.frame)
        number = next(self._numbers)
        self._letters[number] = letter
        return request.replace(dont_filter=True, meta={**request.meta, _KEY: number})

    async def told(
        self, request: Request, call: Callable[[StoredItem | None], Awaitable[Results]]
    ) -> Results:
        """Return what *call*, which gets the letter of *request* if there is one, makes of its
        response or failure; and tell the letter how that ends.

        All results come, also those that the earlier run had already: only a worker skips them.
        """
        letter = self._arrived(request)
        if letter is None:
            return await call(None)
        try:
            results = await call(letter)
            # Of the same kind, since spider middlewares may take no other.
            if isinstance(results, AsyncIterator):
                return _watched_async(results, letter)
            return _watched(results, letter)
        except Exception as error:
            letter.ended(error)
            raise

    async def _called(
        self,
        here: Callable[..., Awaitable[Results]],
        result: Response | Failure,
        request: Request,
    ) -> Results:
        """Do as *here*, Scrapy's ``call_spider_async``."""
        return await self.told(request, lambda _: here(result, request))

    def _arrived(self, request: Request) -> StoredItem | None:
        if not self._letters or _KEY not in request.meta:
            return None
        return self._letters.pop(request.meta.pop(_KEY), None)


def _watched(results: Iterable[Any], letter: StoredItem) -> Iterator[Any]:
    """Yield *results*, and tell *letter* of their end."""
    try:
        yield from results
    except Exception as error:
        letter.ended(error)
        raise
    letter.ended(None)


async def _watched_async(results: AsyncIterator[Any], letter: StoredItem) -> AsyncIterator[Any]:
    """Do as :func:`_watched`."""
    try:
        async for result in results:
            yield result
    except Exception as error:
        letter.ended(error)
        raise
    letter.ended(None)
