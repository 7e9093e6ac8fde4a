"""Two spiders in one process: at once, or one after the other if the first argument says so."""

import asyncio
import json
import os
import sys

import scrapy
from scrapy.crawler import AsyncCrawlerProcess, AsyncCrawlerRunner, CrawlerProcess, CrawlerRunner
from scrapy.utils.log import configure_logging
from twisted.internet.defer import inlineCallbacks

os.write(2, b"@run []\n")
settings = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {"__main__.Extract": 300},
    "MPWORKERS_WORKERS": 2,
    **json.loads(os.environ["CRAWL_SETTINGS"]),
}
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False


class FirstSpider(scrapy.Spider):
    name = "first"
    start_urls = ["data:,"]

    def parse(self, response):
        for n in (1, 2, 3):
            yield {"n": n, "by": self.name}


class SecondSpider(FirstSpider):
    name = "second"


class Extract:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.spider = crawler.spider
        return pipeline

    def process_item(self, item):
        assert item["by"] == self.spider.name
        item["pid"] = os.getpid()
        return item


def run_at_once():
    process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(settings)
    process.crawl(FirstSpider)
    process.crawl(SecondSpider)
    process.start()


def run_in_turn():
    configure_logging(settings)
    if without_reactor:
        asyncio.run(crawl_in_turn_without_reactor())
    else:
        from twisted.internet import reactor

        crawl_in_turn().addBoth(lambda _: reactor.stop())
        reactor.run()


async def crawl_in_turn_without_reactor():
    runner = AsyncCrawlerRunner(settings)
    await runner.crawl(FirstSpider)
    await runner.crawl(SecondSpider)


@inlineCallbacks
def crawl_in_turn():
    runner = CrawlerRunner(settings)
    yield runner.crawl(FirstSpider)
    yield runner.crawl(SecondSpider)


if settings.get("TWISTED_REACTOR", "asyncio") and not without_reactor:
    from scrapy.utils.reactor import install_reactor

    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
run_in_turn() if sys.argv[1:] == ["in_turn"] else run_at_once()
print(os.getpid())
