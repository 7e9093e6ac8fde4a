"""A script with everything in it, which crawls in a daemonic child of multiprocessing."""

import json
import multiprocessing
import os
import sys
from dataclasses import dataclass

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess


@dataclass
class Page:
    n: int
    pid: int = 0


class Extract:
    def process_item(self, item):
        assert type(item) is Page, type(item)
        item.pid = os.getpid()
        return item


class Check:
    def process_item(self, item):
        assert type(item) is Page, type(item)
        return item


class MySpider(scrapy.Spider):
    name = "myspider"

    async def start(self):
        for n in (1, 2, 3):
            yield Page(n=n)


def crawl():
    settings = {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Extract: 300},
        "MPWORKERS_WORKERS": 2,
        "ITEM_PIPELINES": {Check: 400},
        "TELNETCONSOLE_ENABLED": False,
    }
    settings |= json.loads(os.environ["CRAWL_SETTINGS"])
    has_reactor = settings.get("TWISTED_REACTOR_ENABLED", True)
    process = (CrawlerProcess if has_reactor else AsyncCrawlerProcess)(settings)
    process.crawl(MySpider)
    process.start()


if __name__ == "__main__":
    print(os.getpid())
    host = multiprocessing.get_context(sys.argv[1]).Process(target=crawl, daemon=True)
    host.start()
    host.join()
