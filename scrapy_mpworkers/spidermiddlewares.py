"""Gives the items of ``start()`` backpressure, and puts those that an earlier run has kept first.

Scrapy has no backpressure for items of ``start()``: it would make all of them at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from twisted.internet.defer import CancelledError

from scrapy_mpworkers.extension import WorkerExtension


class WorkerSpiderMiddleware:
    """Awaits room in the pool, after each item, before the spider makes the next."""

    def __init__(self, extension: WorkerExtension) -> None:
        self._extension = extension

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> WorkerSpiderMiddleware:
        """Make the middleware.

        Raises:
            NotConfigured: nothing is offloaded.
        """
        extension = crawler.get_extension(WorkerExtension)
        if extension is None or not extension.has_work:
            raise NotConfigured
        return cls(extension)

    async def process_start(self, start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield items that an earlier run has kept, then *start*, no faster than they are done."""
        try:
            async for item in self._extension.resumed():
                yield item
                if not await self._room():
                    return
        except CancelledError:
            return  # while a kept item waited for a level that nobody waits for; see _room()
        if self._extension.persistence.replaces_start:
            return
        async for item_or_request in start:
            yield item_or_request
            if not isinstance(item_or_request, Request) and not await self._room():
                return

    async def _room(self) -> bool:
        """Wait until one more item would be let in; ``False`` if the spider closes instead, or the
        workers are gone.

        Scrapy (2.15 to 2.19) reads start() on while the spider closes, and even faster. Inline that
        ends with the item that the pipelines are at; here it would go on as long as there is room.

        The spider waits after an item, not before it: Scrapy cancels the wait when the spider is to
        close, and an item that was made already would be lost.
        """
        manager = self._extension.manager
        try:
            for level in manager.levels:
                level.backpressure.of_start += 1
            for level in manager.levels:
                if not level.backpressure.has_room:
                    await level.backpressure.wait_for_room()
                if level.is_broken:
                    return False
        except CancelledError:
            # Twisted's CancelledError is an Exception, which Scrapy (2.15 to 2.19) would log as an
            # error of the spider; asyncio's is none, and passes through.
            return False
        return not manager.is_closing
