"""Spiders that name their callbacks in every way there is."""

from __future__ import annotations

import scrapy
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule, SitemapSpider, XMLFeedSpider


class ByRequests(scrapy.Spider):
    name = "by_requests"

    async def start(self):
        yield scrapy.Request("https://a.example", self.first, errback=self.failed)
        yield scrapy.FormRequest("https://a.example", callback=self.logged_in)

    def first(self, page):
        yield page.follow("/x", self.second)
        yield from page.follow_all(css="a", callback=self.third)
        kinds = {"a": self.by_table}
        yield page.request.replace(callback=kinds[page.url])

    def second(self, page): ...

    def third(self, page): ...

    def by_table(self, response): ...

    def logged_in(self, response):
        yield from sorted(map(self.cleaned, response.css("a")))

    def failed(self, failure): ...

    def cleaned(self, link): ...


class ByName(scrapy.Spider):
    name = "by_name"

    def parse(self, response):
        yield {"price": self.parse_price(response.css("b")), "date": self.parse_date("x")}

    def parse_other(self, page): ...

    def parse_price(self, text): ...

    @staticmethod
    def parse_date(text): ...

    def parse_nothing(self): ...

    @property
    def parse_mode(self): ...


class Base(scrapy.Spider):
    def parse_of_base(self, response): ...


class Inherits(Base):
    name = "inherits"

    def parse(self, response): ...


class ByRules(CrawlSpider):
    name = "by_rules"
    rules = (
        Rule(LinkExtractor(), "item"),
        Rule(LinkExtractor(), callback="other", errback="failed", process_links="fewer"),
    )

    def item(self, page): ...

    def other(self, page): ...

    def failed(self, failure): ...

    def fewer(self, links): ...

    def parse_start_url(self, response): ...


class ByItsName(scrapy.Spider):
    name = "by_its_name"

    def start_requests(self):
        for kind in ("list", "page"):
            yield scrapy.Request(f"https://a.example/{kind}", getattr(self, f"at_{kind}"))

    def at_list(self, response):
        return self.rows(response)

    def at_page(self, response): ...

    def rows(self, response): ...


class BySitemap(SitemapSpider):
    name = "by_sitemap"
    sitemap_rules = [("/product/", "product"), ("/", "parse")]

    def product(self, page): ...

    def parse(self, response): ...

    def sitemap_filter(self, entries): ...


class ByFeed(XMLFeedSpider):
    name = "by_feed"

    def parse_node(self, response, node): ...

    def adapt_response(self, response): ...
