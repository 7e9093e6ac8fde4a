"""Crawls with spiders at the top of a script that hold what cannot cross, as their bases do."""

import json
import os
import threading

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

lock = threading.Lock()
hooked = []


class Base(scrapy.Spider):
    table = "t1"

    def who(self):
        return lock

    def shout(self):
        return "base"

    async def start(self):
        yield {"spider": self.name, "pid": os.getpid()}


class Mixin:
    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        hooked.append(cls.name)


class Left(Base):
    gate = threading.Lock()

    def shout(self):
        return "left " + super().shout()


class Right(Base):
    gate = threading.Lock()

    def shout(self):
        return "right " + super().shout()


class Diamond(Mixin, Left, Right):
    name = "diamond"

    def shout(self):
        return "diamond " + Left.shout(self)


class Single(Base):
    name = "single"
    gate = threading.Lock()

    def shout(self):
        return "single " + super().shout()

    def plain(self):
        return Single.table + super().shout()


class Sees:
    """A pipeline that writes down what it finds of the spider."""

    def __init__(self, crawler):
        self.spider = crawler.spider

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        spider = self.spider
        got = {"pid": os.getpid(), "table": spider.table}
        got["bases"] = [one.__name__ for one in type(spider).__mro__ if one.__name__ in NAMES]
        got["is_spider"] = isinstance(spider, scrapy.Spider)
        for name in ("shout", "plain", "who"):
            try:
                got[name] = str(getattr(spider, name)())
            except Exception as error:
                got[name] = f"{type(error).__name__}: {error}"
        return item | got


NAMES = ("Diamond", "Mixin", "Left", "Right", "Single", "Base", "Spider")

if __name__ == "__main__":
    settings = json.loads(os.environ["CRAWL_SETTINGS"])
    without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
    process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
        settings={
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_PIPELINES": {Sees: 1},
            "MPWORKERS_WORKERS": 1,
            **settings,
        }
    )
    process.crawl(Diamond)
    process.crawl(Single)
    process.start()
    print(os.getpid())
