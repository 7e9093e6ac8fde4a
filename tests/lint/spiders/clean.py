"""Spiders whose callbacks keep nothing, and use only what a worker has."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import scrapy
from scrapy.linkextractors import LinkExtractor
from scrapy.loader import ItemLoader
from scrapy.spiders import CrawlSpider, Rule
from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.web import client
from twisted.web.client import ResponseFailed

PRICE = re.compile(r"[\d.]+")


class Quotes(scrapy.Spider):
    name = "quotes"
    start_urls = ["https://quotes.example/page/1/"]

    def parse(self, response):
        for quote in response.css("div.quote"):
            yield {"text": quote.css("span.text::text").get(), "tags": quote.css("a.tag").getall()}
        next_page = response.css("li.next a::attr(href)").get()
        if next_page is not None:
            yield response.follow(next_page, self.parse)


class SavesPages(scrapy.Spider):
    name = "saves_pages"

    def parse(self, response):
        page = response.url.split("/")[-2]
        Path(f"quotes-{page}.html").write_bytes(response.body)
        with open(f"{page}.json", "w") as file:
            json.dump({"page": page}, file)


class Authors(scrapy.Spider):
    name = "authors"

    def __init__(self, category=None, **kwargs):
        super().__init__(**kwargs)
        self.category = category
        self.allowed = {"a", "b"}

    def parse(self, response):
        self.logger.info("at %s", response.url)
        if self.category in self.allowed:
            yield from response.follow_all(css="a.author", callback=self.parse_author)

    def parse_author(self, response):
        item = response.meta["item"]
        item["name"] = self.clean(response.css("h3::text").get(default=""))
        item["seen_at"] = response.cb_kwargs.get("at")
        self.crawler.stats.inc_value("authors")
        if self.settings.getbool("STOP_EARLY"):
            self.crawler.engine.close_spider(self, "enough")
        yield item

    def clean(self, text):
        return text.strip()


class MeantAnew(scrapy.Spider):
    """Each page begins it anew, and only helpers of the same call read it."""

    name = "meant_anew"

    def parse(self, response):
        self.page = response.css("main")
        yield {"title": self.title()}

    def title(self):
        return self.page.css("h1::text").get()


class AsksByName(scrapy.Spider):
    name = "asks_by_name"
    fields = ("title", "price")

    def parse(self, response):
        for field in self.fields:
            yield {field: getattr(self, f"read_{field}")(response)}
        yield {"limit": getattr(self, "limit", None)}

    def read_title(self, page):
        return page.css("h1::text").get()

    def read_price(self, page):
        return page.css("b::text").get()


class OpensInClass(scrapy.Spider):
    """A worker imports the class, so its class attribute is made there as well."""

    name = "opens_in_class"
    words = open(__file__)

    def parse(self, response):
        yield {"words": self.words.name}


class ReadsAtTheStart(scrapy.Spider):
    name = "reads_at_the_start"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with open(__file__) as file:
            self.rows = list(csv.reader(file))

    def parse(self, response):
        yield {"row": self.rows[0], "price": PRICE.findall(response.text)}


class Loads(CrawlSpider):
    name = "loads"
    rules = [Rule(LinkExtractor(), callback="parse_product", follow=True)]

    def parse_product(self, response):
        loader = ItemLoader(item={}, response=response)
        loader.add_css("name", "h1")
        yield loader.load_item()


class AskedAtHome(scrapy.Spider):
    """What another callback keeps is no matter of this one."""

    name = "asked_at_home"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = set()

    def parse(self, response):
        for url in response.css("a::attr(href)").getall():
            if url not in self.seen:
                self.seen.add(url)
                yield response.follow(url, callback=self.parse_article)

    def parse_article(self, response):
        yield {"title": response.css("h1::text").get()}


class TellsErrorsApart(scrapy.Spider):
    """The exceptions of a download need no reactor, wherever they are defined."""

    name = "tells_errors_apart"

    def parse(self, response):
        yield response.follow("/next", errback=self.failed)

    def failed(self, failure):
        if failure.check(DNSLookupError, TimeoutError):
            yield {"host": failure.request.url}
        elif failure.check(ResponseFailed, client.ResponseNeverReceived):
            yield {"reasons": [reason.type.__name__ for reason in failure.value.reasons]}
