"""Items that ask for what is not in a worker, or end in a way that inline would end Scrapy."""

import collections
import json
import os

import odd_pipelines
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

from scrapy_mpworkers import WorkerExtension

Pair = collections.namedtuple("Pair", "left right")


def tell(word, *facts):
    os.write(2, f"@{word} {json.dumps(facts)}\n".encode())


class BeyondSpider(scrapy.Spider):
    name = "beyond"

    async def start(self):
        for name in odd_pipelines.ENDINGS:
            for way in ("plain", "awaited"):
                yield {"ends": name, "way": way}
        yield {"pair": Pair(1, {"deep": [lambda: 1]})}
        yield {"pair": Pair(1, 2)}
        yield scrapy.Request("data:,page", cb_kwargs={"shelf": "A"}, meta={"n": 1})

    async def parse(self, response, shelf):
        for look in odd_pipelines.LOOKS:
            yield {"response": response, "look": look}
        workers = self.crawler.get_extension(WorkerExtension)
        for function in (odd_pipelines.opened, lambda: Pair(1, odd_pipelines.opened())):
            try:
                await workers.run(function)
            except TypeError as error:
                tell("call", str(error))

    @classmethod
    def from_crawler(cls, crawler):
        spider = super().from_crawler(crawler)
        crawler.signals.connect(spider.failed, signals.item_error)
        crawler.signals.connect(spider.done, signals.item_scraped)
        return spider

    def failed(self, item, failure):
        what = [item.get(name) for name in ("ends", "way", "look")]
        tell("failed", *what, failure.type.__name__, str(failure.value))

    def done(self, item):
        tell("done", item.get("look"), item.get("saw"))


settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {odd_pipelines.Ends: 1, odd_pipelines.Looks: 2},
        "MPWORKERS_WORKERS": 2,
        **settings,
        "FEEDS": {},
    }
)
process.crawl(BeyondSpider)
process.start()
