"""Requests whose callbacks were given up go out again: their pages are fetched another time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

from scrapy import Request
from scrapy.utils.asyncgen import as_async_generator

from scrapy_mpworkers.callbacks import Results
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.wire.codec import ParentCodec

#: In the ``meta`` of such a request, where it outlives a redirection and a retry.
_KEY = "_mpworkers_letter"


class ReplayedRequests:
    """Knows which requests of a crawl come from dead letters, and tells those of their end."""

    def __init__(self, codec: ParentCodec) -> None:
        self._codec = codec
        self._letters: dict[int, StoredItem] = {}
        self._numbers = itertools.count()

    def begin(self, letter: StoredItem) -> Request:
        """Return the request of *letter*, which no filter of duplicates will hold back.

        Raises:
            UnreadableError: it cannot be made again.
        """
        request: Request = self._codec.open(letter.frame)
        number = next(self._numbers)
        self._letters[number] = letter
        return request.replace(dont_filter=True, meta={**request.meta, _KEY: number})

    def arrived(self, request: Request) -> StoredItem | None:
        """Return the letter of a request whose response or failure has come."""
        if not self._letters or _KEY not in request.meta:
            return None
        return self._letters.pop(request.meta.pop(_KEY), None)


async def watched(results: Results, letter: StoredItem) -> AsyncIterator[Any]:
    """Yield *results*, and tell *letter* of their end."""
    try:
        async for result in as_async_generator(results):
            yield result
    except Exception as error:
        letter.ended(error)
        raise
    letter.ended(None)
