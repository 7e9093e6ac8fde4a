"""An item class of a script, whose items kill their workers."""

import json
import os

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False


class Page(scrapy.Item):
    n = scrapy.Field()
    pid = scrapy.Field()


class PagesSpider(scrapy.Spider):
    name = "pages"
    start_urls = ["data:,"]

    def parse(self, response):
        yield Page(n=1)


class Dies:
    def process_item(self, item):
        os._exit(7)


process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Dies: 300},
        "MPWORKERS_WORKERS": 2,
        **settings,
    }
)
process.crawl(PagesSpider)
process.start()
