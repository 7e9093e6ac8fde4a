"""Names that mean something else than usual where they are used."""

from __future__ import annotations

from . import crawler
from .crawler import text
from .crawler import text as reactor


class UsesAPackageCalledCrawler:
    def process_item(self, item):
        item["text"] = crawler.text.clean(item["text"])
        item["loud"] = crawler.text.signals(item["text"])
        return item


class UsesItBesideTheParameter:
    def __init__(self, word):
        self.word = word

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["WORD"])

    def process_item(self, item):
        item["word"] = crawler.text.clean(self.word)
        return item


class CallsAModuleReactor:
    def process_item(self, item):
        item["text"] = reactor.clean(item["text"])
        return item


class HasAnAttributeCalledCrawler:
    """Assigned, and not by Scrapy."""

    def __init__(self):
        self.crawler = text.clean
        self.spider = self._make()
        self.settings = self._make()

    def _make(self):
        return {"fetch": len}

    def process_item(self, item):
        item["text"] = self.crawler.extensions(item["text"])
        item["n"] = self.spider.name, self.settings.get("N")
        return item


class ImportsInAMethod:
    def process_item(self, item):
        from .crawler import text as crawler

        item["text"] = crawler.clean(item["text"])
        return item


class HandsOnAnother:
    """A helper's parameter is what it is given."""

    def _fetch(self, crawler, url):
        return crawler.fetch(url)

    def process_item(self, item):
        item["page"] = self._fetch(item["client"], item["url"])
        return item


class LocalSpider:
    def process_item(self, item):
        for spider in item["spiders"]:
            item["legs"] = spider.legs
        try:
            item["legs"] += 1
        except TypeError as crawler:
            item["error"] = crawler.args
        return item


class InnerParameters:
    def process_item(self, item):
        def engine(crawler):
            return crawler.engine.power

        item["cars"] = sorted(item["cars"], key=lambda crawler: crawler.extensions)
        item["power"] = engine(item["car"])
        return item


class GivesThemToAHelper:
    """Here the parameters are Scrapy's, by whatever name."""

    @classmethod
    def from_crawler(cls, c):
        made = cls()
        made.a = cls._read(c.settings)
        made.engine = c.engine
        return made

    @staticmethod
    def _read(source):
        return source["A"]

    def _name(self, of):
        return of.name

    def process_item(self, item, spider):
        item["name"] = self._name(spider)
        self.engine.download(item["url"])
        return item
