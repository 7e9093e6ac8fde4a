"""Pipelines for what is said at the start of a crawl, and of its first items."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy import signals
from scrapy.exceptions import DropItem
from twisted.enterprise import adbapi
from twisted.internet import task, threads

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


def remember(place: set[Any], value: Any) -> None:
    place.add(value)


class Duplicates:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] in self.seen:
            raise DropItem("seen")
        self.seen.add(item["n"])
        return item


class RemembersByAHelper:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def process_item(self, item: dict[str, Any]) -> Any:
        remember(self.seen, item["n"])
        return item


class Sleeps:
    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(0.002)
        return item


class WarnsOfItself:
    def process_item(self, item: dict[str, Any]) -> Any:
        warnings.warn("as old as the hills", stacklevel=1)
        return item


class Computes:
    """Uses what a worker has of the crawl, and remembers nothing."""

    def __init__(self, crawler: Crawler) -> None:
        self.stats = crawler.stats
        self.word = crawler.settings.get("BOT_NAME")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Computes:
        pipeline = cls(crawler)
        crawler.signals.connect(pipeline.spider_opened, signal=signals.spider_opened)
        return pipeline

    def spider_opened(self, spider: Any) -> None:
        self.name = spider.name

    def process_item(self, item: dict[str, Any]) -> Any:
        words = [self.word]
        words.append(self.name)
        item["words"] = words
        self.stats.inc_value("computed")
        return item


class Collects:
    """For whoever reads the class when the crawl is over."""

    results: ClassVar[dict[int, Any]] = {}

    def process_item(self, item: dict[str, Any]) -> Any:
        self.results[item["n"]] = dict(item)
        return item


class StoresByTwisted:
    """The rows of an item are sent off, and nobody awaits them."""

    def open_spider(self) -> None:
        self.pool = adbapi.ConnectionPool("sqlite3", ":memory:", check_same_thread=False)

    def process_item(self, item: dict[str, Any]) -> Any:
        self.pool.runQuery("SELECT 1").addErrback(print)
        return item


class Calls:
    """Leaves work to the reactor, and each item its fate."""

    def process_item(self, item: dict[str, Any]) -> Any:
        from twisted.internet import reactor

        reactor.callInThread(len, item)
        threads.deferToThread(len, item)
        task.LoopingCall(len, item)
        return item


class AsksItsResponse:
    def process_item(self, item: dict[str, Any]) -> Any:
        if "response" in item:
            item["depth"] = item["response"].meta["depth"]
        return item


class HearsOfItems:
    @classmethod
    def from_crawler(cls, crawler: Crawler) -> HearsOfItems:
        pipeline = cls()
        crawler.signals.connect(pipeline.item_scraped, signal=signals.item_scraped)
        return pipeline

    def item_scraped(self, item: Any) -> None:
        print(item)

    def process_item(self, item: dict[str, Any]) -> Any:
        return item
