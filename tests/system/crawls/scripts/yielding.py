"""One spider in two crawls of one process, at once: with workers, and plain. Tells, as JSON, for
each crawl and kind of response, how many of its results were worked on at a time, how many had been
asked for and not ended, in which order they began, and how many tasks a response has.
"""

import asyncio
import json
import logging
import os
import sys
from collections import defaultdict

import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerRunner, CrawlerRunner
from scrapy.exceptions import CloseSpider
from scrapy.logformatter import LogFormatter
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.log import configure_logging
from scrapy.utils.reactor import install_reactor
from twisted.internet.defer import DeferredList

LIMIT = 4
COUNT = 20
given = json.loads(os.environ["CRAWL_SETTINGS"])
is_asyncio = given.get("TWISTED_REACTOR", "") is not None
without_reactor = given.get("TWISTED_REACTOR_ENABLED") is False
settings = {
    "CONCURRENT_ITEMS": LIMIT,
    "CONCURRENT_REQUESTS": 1,
    "ITEM_PIPELINES": {"__main__.Slow": 100},
    **given,
}
with_workers = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {"__main__.Mark": 300},
    "MPWORKERS_WORKERS": 1,
}
books = {}


class Book:
    """What one crawl saw of the responses of each kind."""

    def __init__(self):
        self.asked = defaultdict(int)
        self.ended = defaultdict(int)
        self.running = defaultdict(int)
        self.most = defaultdict(int)
        self.ahead = defaultdict(int)
        self.order = defaultdict(list)
        self.scraped = defaultdict(list)
        self.errors = []
        self.tasks = 0
        self.changed = False

    def ask(self, kind):
        self.asked[kind] += 1
        self.ahead[kind] = max(self.ahead[kind], self.asked[kind] - self.ended[kind])

    def begin(self, item):
        kind = item["kind"]
        self.order[kind].append(item["n"])
        self.running[kind] += 1
        self.most[kind] = max(self.most[kind], self.running[kind])
        if is_asyncio and kind == "one":
            self.tasks = max(self.tasks, len(asyncio.all_tasks()))

    def end(self, item):
        self.running[item["kind"]] -= 1
        self.ended[item["kind"]] += 1


class Slow:
    """Takes several turns of the loop for each item; every fifth of a kind fails."""

    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.book = books[crawler.spider.title]
        return pipeline

    async def process_item(self, item):
        self.book.begin(item)
        await pause(0.02)
        self.book.end(item)
        if item["n"] == 5:
            raise ValueError(f"bad item of {item['kind']}")
        return item


class Mark:
    def process_item(self, item):
        return item


class SaysBadly(LogFormatter):
    """Raises where Scrapy expects that nothing raises: the call that has the item ends with it."""

    def scraped(self, item, response, spider):
        if item["kind"] == "listed":
            raise RuntimeError("no words for it")
        return super().scraped(item, response, spider)


async def pause(seconds):
    if is_asyncio:
        await asyncio.sleep(seconds)
        return
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, seconds)


class Yielding(scrapy.Spider):
    name = "yielding"

    def __init__(self, title, kinds):
        super().__init__()
        self.title, self.kinds = title, kinds
        self.book = books[title] = Book()

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.scraped, signals.item_scraped)
        crawler.signals.connect(spider.failed, signals.spider_error)
        return spider

    async def start(self):
        yield self.request("first")
        while not self.book.ended["first"]:  # that response is Scrapy's
            await pause(0.01)
        for kind in ("one", *self.kinds):
            yield self.request(kind)

    def request(self, kind):
        return scrapy.Request(f"data:,{kind}", getattr(self, kind), dont_filter=True)

    def scraped(self, item):
        self.book.scraped[item["kind"]].append(item["n"])
        self.book.changed = "handle_spider_output_async" in vars(self.crawler.engine.scraper)

    def failed(self, failure):
        self.book.errors.append(f"{type(failure.value).__name__}: {failure.value}")

    def items(self, kind, count=COUNT):
        for n in range(count):
            self.book.ask(kind)
            yield {"kind": kind, "n": n}

    def first(self, response):
        yield from self.items("first", 1)

    def one(self, response):
        yield from self.items("one", 1)

    def many(self, response):
        yield from self.items("many")

    def listed(self, response):
        return list(self.items("listed"))

    async def coming(self, response):
        for item in self.items("coming"):
            yield item
            if item["n"] % 3 == 0:
                await pause(0.005)

    async def awaited(self, response):
        await pause(0.005)
        return list(self.items("awaited", 3))

    def none(self, response):
        return None

    def mixed(self, response):
        for item in self.items("mixed", 6):
            yield item
            yield scrapy.Request(f"data:,behind{item['n']}", self.behind, priority=-50)

    def behind(self, response):
        yield {"kind": "behind", "n": int(response.url[-1])}

    def breaks(self, response):
        yield from self.items("breaks", 8)
        raise LookupError("in the middle")

    async def breaks_while_coming(self, response):
        for item in self.items("breaks_while_coming", 8):
            yield item
            await pause(0.001)
        raise LookupError("in the middle of what comes")

    def closes(self, response):
        yield from self.items("closes", 8)
        raise CloseSpider("enough")


async def crawl(runner, title, **own):
    kinds = sys.argv[1:]
    spider = type("Yielding", (Yielding,), {"custom_settings": own, "__module__": "__main__"})
    crawler = runner.create_crawler(spider)
    started = runner.crawl(crawler, title=title, kinds=kinds)
    await (started if without_reactor else maybe_deferred_to_future(started))
    book = books[title]
    return {
        **{name: value for name, value in vars(book).items() if name not in ("asked", "running")},
        "reason": crawler.stats.get_value("finish_reason"),
    }


async def both(runner):
    crawls = [crawl(runner, "workers", **with_workers)]
    if not settings.get("WITHOUT_PLAIN"):
        crawls.append(crawl(runner, "plain"))
    if without_reactor:
        return list(await asyncio.gather(*crawls))
    return [
        end
        for _, end in await maybe_deferred_to_future(DeferredList(map(deferred_from_coro, crawls)))
    ]


def main():
    configure_logging(settings)
    logging.getLogger("scrapy.core.scraper").setLevel(logging.CRITICAL)
    ends = []
    if without_reactor:
        ends += asyncio.run(both(AsyncCrawlerRunner(settings)))
    else:
        if is_asyncio:
            install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
        from twisted.internet import reactor

        done = deferred_from_coro(both(CrawlerRunner(settings)))
        done.addCallback(ends.extend).addBoth(lambda _: reactor.stop())
        reactor.run()
    print(json.dumps(dict(zip(("workers", "plain"), ends, strict=False)), default=str))


if __name__ == "__main__":
    main()
