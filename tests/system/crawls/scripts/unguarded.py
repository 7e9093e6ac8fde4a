"""The "run Scrapy from a script" of Scrapy's docs: all in one file, and no `__main__` guard."""

import dataclasses
import json
import os
import sys

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

os.write(2, b"@run []\n")
settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False


class Page(scrapy.Item):
    n = scrapy.Field()
    pid = scrapy.Field()


@dataclasses.dataclass
class Note:
    n: int
    pid: int = 0


class MySpider(scrapy.Spider):
    name = "myspider"
    start_urls = ["data:,"]

    def parse(self, response):
        yield Page(n=1)
        yield Note(n=2)
        yield {"n": 3}


class Extract:
    def process_item(self, item):
        scrapy_item = type(item) in (Page, dict)
        assert scrapy_item or type(item) is Note, type(item)
        if scrapy_item:
            item["pid"] = os.getpid()
        else:
            item.pid = os.getpid()
        return item


class Check:
    """Stays on the reactor, behind the workers: the items' classes must be the very same here."""

    def process_item(self, item):
        assert type(item) in (Page, Note, dict), type(item)
        return item


process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {"__main__.Extract" if sys.argv[1:] else Extract: 300},
        "MPWORKERS_WORKERS": 2,
        "ITEM_PIPELINES": {Check: 400},
        **settings,
    }
)
process.crawl(MySpider)
process.start()
print(os.getpid())
