"""Items that a first level makes much smaller, in all ways, on their way to a second one."""

import json
import os

import odd_pipelines
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

PAGE = "p" * 100_000


class ShrinkingSpider(scrapy.Spider):
    name = "shrinking"
    start_urls = ["data:,page"]

    def parse(self, response):
        for how in odd_pipelines.SHRINKS:
            yield {"how": how, "page": PAGE, "rows": [PAGE[:50_000]] * 2, "response": response}
        reused = {}
        for n in range(3):
            reused.update(how="pop", page=PAGE, rows=[n], n=n)
            yield reused

    @classmethod
    def from_crawler(cls, crawler):
        spider = super().from_crawler(crawler)
        crawler.signals.connect(spider.scraped, signals.item_scraped)
        crawler.signals.connect(spider.gone, signals.item_dropped)
        crawler.signals.connect(spider.gone, signals.item_error)
        return spider

    def scraped(self, item, response):
        self.tell("scraped", item, response)

    def gone(self, item, response):
        self.tell("gone", item, response)

    def tell(self, word, item, response):
        shown = {
            name: len(value) if isinstance(value, str) and len(value) > 50 else value
            for name, value in item.items()
            if name not in ("response", "rows")
        }
        rows = [len(str(row)) for row in item.get("rows", ())]
        facts = [shown, rows, list(item), item.get("response") in (response, None)]
        os.write(2, f"@{word} {json.dumps(facts)}\n".encode())


settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
first, second = {odd_pipelines.Shrinks: 1}, {odd_pipelines.Stores: 2}
levels = [
    {"name": "compute", "workers": 1, "pipelines": first},
    {"name": "store", "workers": 1, "pipelines": second},
]
if settings.pop("INLINE", False):
    given = {"ITEM_PIPELINES": first | second}
else:
    given = {"ADDONS": {"scrapy_mpworkers.Addon": 500}, "MPWORKERS_LEVELS": levels}
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={**given, **settings, "FEEDS": {}}
)
process.crawl(ShrinkingSpider)
process.start()
