"""Another pipeline of the crawl cannot be opened."""

import json
import os
import sys

import odd_pipelines
import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess


class MySpider(scrapy.Spider):
    name = "myspider"
    start_urls = ["data:,"]

    def parse(self, response):
        yield {}


settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {odd_pipelines.Plain: 300},
        "MPWORKERS_WORKERS": 1,
        "ITEM_PIPELINES": {getattr(odd_pipelines, sys.argv[1]): int(sys.argv[2])},
        **settings,
    }
)
process.crawl(MySpider)
process.start()
