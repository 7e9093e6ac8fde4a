"""Pipelines ask again and again to close the spider, and so may the spider itself."""

import json
import os
import sys

import odd_pipelines
import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess
from scrapy.exceptions import CloseSpider


class AskingSpider(scrapy.Spider):
    name = "asking"
    start_urls = [f"data:,{n}" for n in range(12)]

    def parse(self, response):
        n = int(response.text)
        if "callbacks" in sys.argv and n >= 6:
            raise CloseSpider("by a callback")
        yield {"n": n}


settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {odd_pipelines.Asks: 1},
        "MPWORKERS_WORKERS": 2,
        **settings,
    }
)
process.crawl(AskingSpider)
process.start()
