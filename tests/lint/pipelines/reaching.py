"""Pipelines that reach for crawler, spider, engine and reactor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scrapy import Request, signals
from scrapy.utils.asyncio import is_asyncio_available
from twisted.internet import defer

item_priced = object()

if TYPE_CHECKING:
    from twisted.internet import reactor, task


class ByTheSpider:
    def open_spider(self, spider):
        self.spider = spider
        self.limit = spider.settings.getint("LIMIT")

    def process_item(self, item, spider):
        self.spider.crawler.stats.inc_value(spider.name)
        return item


class ByGetattr:
    def process_item(self, item, spider):
        item["tags"] = getattr(spider, "tags", [])
        item["since"] = spider.start_date
        return item


class ByLocals:
    def __init__(self, crawler):
        settings = crawler.settings
        self._crawler = crawler
        self.a = settings.get("A")
        self.b = settings["B"]

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        stats = self._crawler.stats
        stats.inc_value("seen")
        if item["last"]:
            self._crawler.engine.close_spider(self._crawler.spider, "enough")
        return item


class ByItsOwnCollector:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.stats = crawler.stats
        return pipeline

    def process_item(self, item):
        self.stats.timing("seconds", 1.5)
        self.stats.inc_value("items")
        return item


class ByItsOwnSignal:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.signals = crawler.signals
        crawler.signals.connect(pipeline.count, item_priced)
        return pipeline

    def process_item(self, item):
        self.signals.send_catch_log(item_priced)
        return item

    def count(self):
        print("priced")


class BySendingSignals:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.crawler = crawler
        pipeline.signals = crawler.signals
        return pipeline

    def process_item(self, item):
        self.crawler.signals.send_catch_log(signal=item_priced, item=item)
        return item

    async def open_spider(self):
        await self.signals.send_catch_log_async(signals.headers_received)


class BySignals:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        connect = crawler.signals.connect
        connect(pipeline.idle, signal=signals.spider_idle)
        crawler.signals.connect(pipeline.closed, signals.spider_closed)
        return pipeline

    def idle(self):
        print("idle")

    def closed(self):
        print("closed")

    def process_item(self, item):
        return item


class ByExtensions:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.fingerprinter = crawler.request_fingerprinter
        pipeline.extensions = crawler.extensions
        return pipeline

    def process_item(self, item):
        item["id"] = self.fingerprinter.fingerprint(Request(item["url"])).hex()
        return item


class ByReactor:
    def process_item(self, item):
        done = defer.Deferred()
        reactor.callLater(1, done.callback, item)
        return done


class InAThreadOfTheReactor:
    def process_item(self, item):
        reactor.callInThread(print, item)
        return item


class InEitherLoop:
    async def process_item(self, item):
        if is_asyncio_available():
            await asyncio.sleep(0.1)
        else:
            await task.deferLater(reactor, 0.1)
            await turn_of_the_reactor()
        return item


class ByLoopingCall:
    def open_spider(self, spider):
        self.loop = task.LoopingCall(print, "alive")
        self.loop.start(20)

    def process_item(self, item):
        return item


class Crawls:
    def process_item(self, item, spider):
        spider.crawler.engine.crawl(Request(item["next"]))
        return item


class InlineCallbacks:
    @defer.inlineCallbacks
    def process_item(self, item):
        item["done"] = yield defer.succeed(True)
        return item


async def turn_of_the_reactor():
    await task.deferLater(reactor, 0)
