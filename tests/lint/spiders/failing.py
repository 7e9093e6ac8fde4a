"""Spiders whose callbacks use what no worker has."""

from __future__ import annotations

import csv
import sqlite3
import threading

import scrapy
from scrapy import signals
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet import threads


class Downloads(scrapy.Spider):
    name = "downloads"

    async def parse(self, response):
        request = scrapy.Request("https://a.example")
        other = await self.crawler.engine.download_async(request)
        return {"title": other.css("h1::text").get()}


class DownloadsByDeferred(scrapy.Spider):
    name = "downloads_by_deferred"

    async def parse(self, response):
        deferred = self.crawler.engine.download(scrapy.Request("https://a.example"))
        other = await maybe_deferred_to_future(deferred)
        return {"status": other.status}


class Crawls(scrapy.Spider):
    name = "crawls"

    def parse(self, response):
        self.crawler.engine.crawl(scrapy.Request("https://a.example"))


class LooksAtSlots(scrapy.Spider):
    name = "looks_at_slots"

    def parse(self, response):
        yield {"slots": len(self.crawler.engine.downloader.slots), "at": response.ip_address}


class AsksExtensions(scrapy.Spider):
    name = "asks_extensions"

    def parse(self, response):
        yield {"extensions": self.crawler.extensions}


class CallsTheReactor(scrapy.Spider):
    name = "calls_the_reactor"

    def parse(self, response):
        from twisted.internet import reactor

        reactor.callLater(1, print, response.url)

    def parse_in_thread(self, response):
        return threads.deferToThread(len, response.body)


class ListensToItems(scrapy.Spider):
    name = "listens_to_items"

    def parse(self, response):
        self.crawler.signals.connect(self.scraped, signals.item_scraped)

    def scraped(self, item):
        pass


class ListensFromTheStart(scrapy.Spider):
    """Scrapy's process connects it, where it is heard."""

    name = "listens_from_the_start"

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.idle, signals.spider_idle)
        return spider

    def idle(self):
        self.crawler.engine.crawl(scrapy.Request("https://a.example"))

    def parse(self, response):
        yield {"url": response.url}


class AsksForTheCertificate(scrapy.Spider):
    name = "asks_for_the_certificate"

    def parse(self, response):
        yield {"issuer": response.certificate.getIssuer()}


class KeepsAFile(scrapy.Spider):
    name = "keeps_a_file"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.file = open("rows.csv", "w")
        self.rows = csv.writer(self.file)
        self.lock = threading.Lock()

    def parse(self, response):
        with self.lock:
            self.rows.writerow([response.url])


class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(path)

    def count(self):
        return self.db.execute("select count(*) from page").fetchone()


class KeepsAStore(scrapy.Spider):
    name = "keeps_a_store"

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.store = Store("known.db")
        return spider

    def parse(self, response):
        yield {"n": self.store.count()}


class Reopened(Store):
    def __reduce__(self):
        return Reopened, ("known.db",)


class KeepsAStoreThatCrosses(scrapy.Spider):
    name = "keeps_a_store_that_crosses"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.store = Reopened("known.db")

    def parse(self, response):
        yield {"n": self.store.count()}


class MakesItWhenItIsUsed(scrapy.Spider):
    name = "makes_it_when_it_is_used"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.db = None

    def parse(self, response):
        if self.db is None:
            self.db = sqlite3.connect("known.db")
        yield {"n": self.db.execute("select 1").fetchone()}


class OnlyInTheOtherOne(scrapy.Spider):
    """One callback hands over to another, which is not run in the same place."""

    name = "only_in_the_other_one"

    def parse(self, response):
        yield response.follow("/more", callback=self.parse_more)
        yield from map(self.shortened, response.css("a"))

    def parse_more(self, response):
        self.crawler.engine.crawl(scrapy.Request("https://a.example"))

    def shortened(self, link):
        return {"url": link.attrib["href"][:20]}


class CallsTheOtherOne(OnlyInTheOtherOne):
    name = "calls_the_other_one"

    def parse(self, response):
        yield from self.parse_more(response)
