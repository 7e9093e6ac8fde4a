"""What the cases' spiders have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, Spider
from scrapy.http import Response
from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.defer import maybe_deferred_to_future

#: A page that needs no network.
PAGE = "data:text/html,<title>page</title>"
WORDS = ("ant", "beetle", "cat", "dolphin", "eel", "ferret", "goose", "hen", "ibis", "jackdaw")

#: Enough for an item to pass inline pipelines and signal handlers, which all run in the loop.
TURNS_OF_AN_ITEM = 20


class WordSpider(Spider):
    """Ten items: ``make(0)`` to ``make(3)`` from ``start()``, the others from a callback."""

    name = "words"

    async def start(self) -> AsyncIterator[Any]:
        for n in range(4):
            yield self.make(n)
        yield Request(PAGE, self.parse)

    def parse(self, response: Response) -> Iterator[Any]:
        for n in range(4, 10):
            yield self.make(n)

    def make(self, n: int) -> Any:
        return {"n": n, "word": WORDS[n]}


async def turns_of_the_loop(count: int = TURNS_OF_AN_ITEM) -> None:
    """Let the loop turn: what takes no I/O is done then, what is on its way to a worker is not."""
    for _ in range(count):
        if is_asyncio_available():
            await asyncio.sleep(0)
        else:
            await _turn_of_the_reactor()


async def _turn_of_the_reactor() -> None:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await maybe_deferred_to_future(deferLater(reactor, 0, lambda: None))
