"""A script that is killed while its items are at workers, and runs again."""

import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "project"))

import scrapy
from crawled.signs import tell, wait_at_gate
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False


class Page(scrapy.Item):
    n = scrapy.Field()


class PagesSpider(scrapy.Spider):
    name = "pages"

    async def start(self):
        for n in () if sys.argv[1:] else (1, 2):
            yield Page(n=n)


class Gate:
    def process_item(self, item):
        tell("busy", item["n"])
        wait_at_gate()
        return item


class Check:
    def process_item(self, item):
        tell("checked", int(type(item) is Page))
        return item


process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Gate: 300},
        "MPWORKERS_WORKERS": 2,
        "ITEM_PIPELINES": {Check: 400},
        **settings,
    }
)
process.crawl(PagesSpider)
process.start()
