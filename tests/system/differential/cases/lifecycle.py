"""How pipelines come to be, open and close.

Each worker has its own pipelines. Of opening and closing one worker's records and stats count, so
what does not depend on a worker's share of the items is the same with any number of workers; what
does is shown with one.
"""

from __future__ import annotations

import logging
from typing import Any

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured

from ..case import Case, Expected
from .kinds import TEN
from .shapes import NEEDS_ASYNCIO, Async, Base, TakesItemOnly
from .spiders import WordSpider, turns_of_the_loop

logger = logging.getLogger(__name__)


class Prefixed:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Prefixed:
        return cls(crawler.settings["CASE_PREFIX"])

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["word"] = self.prefix + item["word"]
        return item


class Factory:
    """Chooses a class when it is asked for an instance of itself."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Any:
        return Chosen(crawler.spider) if crawler.settings.getbool("CASE_CHOOSE") else cls()


class Chosen:
    def __init__(self, spider: Spider | None) -> None:
        self.spider = spider

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["chosen"] = type(self).__name__
        item["spider"] = self.spider.name if self.spider else None
        return item


class NeedsKey:
    @classmethod
    def from_crawler(cls, crawler: Crawler) -> NeedsKey:
        if not crawler.settings.get("CASE_KEY"):
            raise NotConfigured("CASE_KEY is not set")
        return cls()

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("disabled pipelines see no items")


class NeedsMore:
    """Says nothing about why it is off."""

    def __init__(self) -> None:
        raise NotConfigured

    process_item = NeedsKey.process_item


class Opens:
    """Open and close with the spider argument, in the manner of old projects."""

    count = 0

    def open_spider(self, spider: Spider) -> None:
        self.opened_for = spider.name
        logger.info("Opened for %s", spider.name)

    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["opened_for"] = self.opened_for
        self.count += 1
        return item

    def close_spider(self, spider: Spider) -> None:
        logger.warning("Closing %s", spider.name)
        spider.crawler.stats.set_value("case/closed", spider.name)
        # As a writer does that flushes its rest: what workers count adds up.
        spider.crawler.stats.inc_value("case/flushed", self.count)


class OpensAsync:
    count = 0

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> OpensAsync:
        return cls(crawler)

    async def open_spider(self) -> None:
        self.letters = await self._load()
        self.crawler.stats.inc_value("case/openings")

    async def _load(self) -> dict[str, int]:
        return {"a": 1}

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["letters"] = dict(self.letters)
        self.count += 1
        return item

    async def close_spider(self) -> None:
        logger.info("Closed asynchronously")
        self.crawler.stats.inc_value("case/flushed", self.count)


class OpensInTheLoop(OpensAsync):
    async def _load(self) -> dict[str, int]:
        await turns_of_the_loop(3)
        return {"b": 2}

    async def close_spider(self) -> None:
        await turns_of_the_loop(3)
        await super().close_spider()


class Summary:
    """Counts, and tells at the end."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Summary:
        pipeline = cls()
        pipeline.stats = crawler.stats
        pipeline.words = []
        return pipeline

    stats: Any
    words: list[str]

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.words.append(item["word"])
        item["place"] = len(self.words)
        return item

    def close_spider(self) -> None:
        self.stats.set_value("case/words", sorted(self.words))
        logger.info("Seen: %s", ", ".join(sorted(self.words)))


class Listens:
    """Opens and closes by signals, as pipelines did before they had methods for it."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.opened = self.count = 0
        crawler.signals.connect(self.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(self.spider_closed, signal=signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Listens:
        return cls(crawler)

    def spider_opened(self, spider: Spider) -> None:
        self.opened += 1
        logger.info("Signal: %s opened", spider.name)

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["opened"] = self.opened
        self.count += 1
        return item

    def spider_closed(self, spider: Spider, reason: str) -> None:
        logger.info("Signal: %s closed: %s", spider.name, reason)
        self.crawler.stats.set_value("case/closed_because", reason)
        self.crawler.stats.inc_value("case/counted", self.count)


class ListensAsync(Listens):
    async def spider_opened(self, spider: Spider) -> None:
        self.opened += 1

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        logger.info("Signal: %s closed asynchronously: %s", spider.name, reason)


class ListensToTheEnd(Listens):
    """Tells in its order: close, then the signal."""

    def open_spider(self) -> None:
        self.opened += 100  # before the signal, so items see 101

    def close_spider(self) -> None:
        self.closed_first = True

    def spider_closed(self, spider: Spider, reason: str) -> None:
        logger.info("Signal after close_spider: %s", self.closed_first)


ONE_WORKER = 1

#: ``log_count/*`` has what is logged between the handlers of LogCount for ``spider_opened`` and
#: ``spider_closed``. For other handlers of the same signals that is a matter of their order.
UNCOUNTED = {"EXTENSIONS": {"scrapy.extensions.logcount.LogCount": None}}

#: The message is the same; only its arguments are no longer apart from it.
RENDERED_EARLY = {
    "log_templates": "arguments that are no plain values are made into text where they live"
}

CASES = [
    Case(
        "from_crawler",
        WordSpider,
        {Prefixed: 300},
        TEN,
        settings={"CASE_PREFIX": "the "},
    ),
    Case(
        "from_crawler_returning_another_class",
        WordSpider,
        {Factory: 300},
        TEN,
        settings={"CASE_CHOOSE": True},
    ),
    Case(
        "not_configured",
        WordSpider,
        {NeedsKey: 200, Base: 300, NeedsMore: 400},
        TEN,
        not_compared=RENDERED_EARLY,
    ),
    Case("not_configured_at_all", WordSpider, {NeedsKey: 300}, TEN, not_compared=RENDERED_EARLY),
    Case("open_and_close", WordSpider, {Opens: 300}, TEN),
    Case("open_and_close_async", WordSpider, {OpensAsync: 300, Async: 400}, TEN),
    Case(
        "open_and_close_awaiting_asyncio",
        WordSpider,
        {TakesItemOnly: 200, OpensInTheLoop: 300},
        TEN,
        excluded=NEEDS_ASYNCIO,
    ),
    Case("close_with_a_summary", WordSpider, {Summary: 300}, TEN, workers=ONE_WORKER),
    Case("signals_of_opening_and_closing", WordSpider, {Listens: 300}, TEN, settings=UNCOUNTED),
    Case("signals_with_async_handlers", WordSpider, {ListensAsync: 300}, TEN, settings=UNCOUNTED),
    Case(
        "signals_and_methods_in_order",
        WordSpider,
        {ListensToTheEnd: 300},
        Expected(scraped=10),
        settings=UNCOUNTED,
    ),
]
