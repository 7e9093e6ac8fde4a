"""Spiders whose callbacks keep something from page to page."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import scrapy
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule

TOTAL = 0
SEEN = set()


class Counts(scrapy.Spider):
    name = "counts"
    count = 0

    def parse(self, response):
        self.count += 1
        yield {"n": self.count}


class CountsFromNothing(scrapy.Spider):
    name = "counts_from_nothing"

    def parse(self, response):
        self.count = getattr(self, "count", 0) + 1
        yield {"n": self.count}


class Remembers(scrapy.Spider):
    name = "remembers"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = set()

    def parse(self, response):
        if response.url in self.seen:
            return
        self.seen.add(response.url)
        yield {"url": response.url}


class Pages(scrapy.Spider):
    name = "pages"
    page_number = 2

    def parse(self, response):
        yield {"title": response.css("h1::text").get()}
        if Pages.page_number < 50:
            Pages.page_number += 1
            yield response.follow(f"/page/{Pages.page_number}", callback=self.parse)


class InState(scrapy.Spider):
    name = "in_state"

    def parse(self, response):
        self.state["items"] = self.state.get("items", 0) + 1


class InGlobals(scrapy.Spider):
    name = "in_globals"

    def parse(self, response):
        global TOTAL
        TOTAL += 1
        if response.url not in SEEN:
            SEEN.add(response.url)
            yield {"n": TOTAL}


class TakesFromAList(scrapy.Spider):
    name = "takes_from_a_list"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.todo = ["a", "b", "c"]

    def parse(self, response):
        if self.todo:
            yield response.follow(self.todo.pop(), callback=self.parse)


class NumbersThem(scrapy.Spider):
    name = "numbers_them"
    numbers = itertools.count()

    def parse(self, response):
        yield {"n": next(self.numbers)}


class ByAHelper(scrapy.Spider):
    name = "by_a_helper"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = set()

    def parse(self, response):
        if self.is_new(response.url):
            yield {"url": response.url}

    def is_new(self, url):
        if url in self.seen:
            return False
        self.seen.add(url)
        return True


def note(spider, url):
    if url in spider.urls:
        return False
    spider.urls.add(url)
    return True


class ByAFunction(scrapy.Spider):
    name = "by_a_function"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.urls = set()

    def parse(self, response):
        if note(self, response.url):
            yield {"url": response.url}


class Known:
    def __init__(self):
        self.urls = set()

    def add(self, url):
        is_new = url not in self.urls
        self.urls.add(url)
        return is_new


class ByAnObject(scrapy.Spider):
    name = "by_an_object"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.known = Known()

    def parse(self, response):
        if self.known.add(response.url):
            yield {"url": response.url}


class TellsAtTheEnd(scrapy.Spider):
    name = "tells_at_the_end"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.titles = []

    def parse(self, response):
        self.titles.append(response.css("h1::text").get())

    def closed(self, reason):
        self.logger.info("%d titles", len(self.titles))


class LogsIn(scrapy.Spider):
    name = "logs_in"
    is_in = False

    def parse(self, response):
        yield scrapy.FormRequest.from_response(response, callback=self.after_login)

    def after_login(self, response):
        self.token = response.json()["token"]
        self.is_in = True
        yield from self.pages()

    def pages(self):
        yield scrapy.Request("https://a.example", self.parse_page, errback=self.failed)

    def parse_page(self, response):
        if self.is_in:
            yield {"token": self.token}

    def failed(self, failure):
        self.logger.error(repr(failure))


class WritesRows(scrapy.Spider):
    name = "writes_rows"

    def parse(self, response):
        with open("rows.csv", "a") as file:
            file.write(response.url)


class Overwrites(scrapy.Spider):
    name = "overwrites"

    def parse(self, response):
        with open("last.html", "wb") as file:
            file.write(response.body)


class ByALinkFilter(CrawlSpider):
    """The rule's filter runs where its callback does."""

    name = "by_a_link_filter"
    rules = [Rule(LinkExtractor(), callback="parse", process_links="fresh")]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = set()

    def parse(self, response):
        yield {"url": response.url}

    def fresh(self, links):
        for link in links:
            if link.url not in self.seen:
                self.seen.add(link.url)
                yield link


class ByAResultFilter(CrawlSpider):
    name = "by_a_result_filter"
    count = 0

    def parse(self, response):
        yield {"url": response.url}

    def process_results(self, response, results):
        self.count += 1
        return results if self.count < 100 else []


class Caches(scrapy.Spider):
    name = "caches"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hosts = {}

    def parse(self, response):
        key = response.url.partition("?")[0]
        if key not in self.hosts:
            self.hosts[key] = urlsplit(key).hostname
        yield {"host": self.hosts[key]}
