"""A script whose pipeline workers cannot import, nor be sent."""

import json
import os
import threading

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess


class NumbersSpider(scrapy.Spider):
    name = "numbers"

    async def start(self):
        yield {"n": 1}


class Locks:
    lock = threading.Lock()

    def process_item(self, item):
        return item


settings = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {Locks: 300},
    "MPWORKERS_WORKERS": 2,
    **json.loads(os.environ["CRAWL_SETTINGS"]),
}
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(settings)
process.crawl(NumbersSpider)
process.start()
