"""Spiders that tell their test what they yield and what becomes of it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals
from scrapy.exceptions import CloseSpider
from scrapy.utils.defer import deferred_from_coro

from .signs import pause, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure


class TellingSpider(scrapy.Spider):
    """Numbers its items and tells of each when it is yielded and when its outcome is known."""

    urls = "data:,"
    items = 6
    count = 0
    slow_handler = 0.0
    """Seconds that the handler of item_scraped takes."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> TellingSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        for name in ("item_scraped", "item_dropped", "item_error", "request_reached_downloader"):
            crawler.signals.connect(getattr(spider, name), getattr(signals, name))
        return spider

    async def start(self) -> AsyncIterator[Any]:
        for url in self.urls.split():
            yield scrapy.Request(url, dont_filter=True)

    def make(self, **fields: Any) -> dict[str, Any]:
        self.count += 1
        tell("yielded", self.count)
        return {"n": self.count, **fields}

    async def item_scraped(self, item: dict[str, Any]) -> None:
        if self.slow_handler:
            await pause(float(self.slow_handler))
        tell("scraped", item["n"])

    def item_dropped(self, item: dict[str, Any], exception: Exception) -> None:
        tell("dropped", item["n"], str(exception))

    def item_error(self, item: dict[str, Any], failure: Failure) -> None:
        tell("failed", item["n"], type(failure.value).__name__, str(failure.value))

    def request_reached_downloader(self, request: scrapy.Request) -> None:
        tell("requested", request.url)


class PagesSpider(TellingSpider):
    """Yields its items from callbacks."""

    name = "pages"
    stop = ""
    """Reason with which the callback closes the spider behind its items."""

    def parse(self, response: Response) -> Iterator[Any]:
        """Some items for each page.

        @url data:,
        @returns items 6 6
        """
        for _ in range(int(self.items)):
            yield self.make()
        if self.stop:
            raise CloseSpider(self.stop)


class Uncrossable(str):
    """A text of a class that no worker could have."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("it stays here")


class ReasonedSpider(PagesSpider):
    """Closes for a reason that is of a class of its own."""

    name = "reasoned"

    def parse(self, response: Response) -> Iterator[Any]:
        try:
            yield from super().parse(response)
        except CloseSpider as closing:
            raise CloseSpider(Uncrossable(closing.reason)) from None


class MeetingSpider(TellingSpider):
    """Its callbacks wait for one another: no item comes before the last page is there."""

    name = "meeting"
    met = 0

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        self.met += 1
        while self.met < len(self.urls.split()):
            await pause(0.02)
        yield self.make()


class StartSpider(TellingSpider):
    """Yields its items from start(), where no response counts them."""

    name = "start"
    stop = ""
    close_at = 0
    """The item after which the engine is told to close, while start() goes on."""

    async def start(self) -> AsyncIterator[Any]:
        for n in range(1, int(self.items) + 1):
            yield self.make()
            if n == int(self.close_at):
                assert self.crawler.engine is not None
                closing = self.crawler.engine.close_spider_async(reason="enough")
                self.closing = deferred_from_coro(closing)
        if self.stop:
            raise CloseSpider(self.stop)


class OddSpider(TellingSpider):
    """Two items that cannot be pickled among others that can."""

    name = "odd"

    def parse(self, response: Response) -> Iterator[Any]:
        yield self.make()
        yield self.make(price=lambda: 42)
        yield self.make()
        yield self.make(links={"first": [response.selector]})
        yield self.make()


class LuggageSpider(TellingSpider):
    """An item with the heavy things that items carry in real projects."""

    name = "luggage"
    urls = "data:text/html,<title>Real%20pages</title>"

    def parse(self, response: Response) -> Iterator[Any]:
        from bs4 import BeautifulSoup  # here: every worker of every crawl imports this module

        title = BeautifulSoup(response.text, "html.parser").title.string
        yield self.make(response=response, spider=self, title=title)

    async def item_scraped(self, item: dict[str, Any], response: Response) -> None:
        tell("same", item["response"] is response, item["spider"] is self)
        await super().item_scraped(item)


class BulkySpider(TellingSpider):
    """Items that soon exceed what a file of this process may hold: a disk that fills up."""

    name = "bulky"

    async def start(self) -> AsyncIterator[Any]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        for _ in range(int(self.items)):
            yield self.make(bulk=os.urandom(200_000))


class LambdasSpider(TellingSpider):
    """A hundred items that cannot be pickled, or will not be, and a hundred good ones."""

    name = "lambdas"
    kind = "item"

    def parse(self, response: Response) -> Iterator[Any]:
        for _ in range(100):
            yield self.make(price=lambda: 42) if self.kind == "item" else self.make()
        for _ in range(100):
            yield self.make()


class FloodSpider(scrapy.Spider):
    """2,000 items of 100 kB, as fast as they can be made; tells how much memory they took."""

    name = "flood"
    where = "start"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> FloodSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.spider_closed, signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        self.at_first = peak_memory()
        if self.where == "start":
            for n in range(2_000):
                yield self.make(n)
        else:
            yield scrapy.Request("data:,")

    def parse(self, response: Response) -> Iterator[Any]:
        yield from map(self.make, range(2_000))

    def make(self, n: int) -> dict[str, Any]:
        return {"n": n, "body": os.urandom(100_000)}

    def spider_closed(self) -> None:
        tell("grown", round((peak_memory() - self.at_first) / 2**20))


def peak_memory() -> int:
    """The most that this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class HostileSpider(StartSpider):
    """Items whose addresses are made to break a page that shows them."""

    name = "hostile"

    def make(self, **fields: Any) -> dict[str, Any]:
        item = super().make(**fields)
        n = item["n"]
        return {
            "url": f"http://a/{n}</script><script>alert(1)</script><img src=x onerror=alert(2)>"
        } | item
