"""What a pipeline reads and writes around it: settings, spider, stats, log."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.http import Response

from ..case import Case, Expected
from .kinds import TEN
from .lifecycle import ONE_WORKER, RENDERED_EARLY
from .shapes import Base
from .spiders import PAGE, WordSpider, turns_of_the_loop

logger = logging.getLogger(__name__)
quiet_logger = logging.getLogger(f"{__name__}.quiet")


class WithCrawler:
    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.stats: Any = crawler.stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> WithCrawler:
        return cls(crawler)


class ReadsSettings(WithCrawler):
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        settings = self.crawler.settings
        item["number"] = settings.getint("CASE_NUMBER")
        item["flag"] = settings.getbool("CASE_FLAG")
        item["list"] = settings.getlist("CASE_LIST")
        item["dict"] = settings.getdict("CASE_DICT")
        item["float"] = settings.getfloat("CASE_NUMBER")
        item["missing"] = settings.get("CASE_MISSING", "fallback")
        item["default"] = settings["CONCURRENT_ITEMS"]
        item["of_spider"] = spider.settings["CASE_OF_SPIDER"]
        item["priority"] = settings.getpriority("CASE_OF_SPIDER")
        item["frozen"] = settings.frozen
        item["handler"] = settings["CASE_CLASS"].__name__
        return item


class SettingsSpider(WordSpider):
    custom_settings = {"CASE_OF_SPIDER": ["custom"], "CASE_NUMBER": "42"}


class ShopSpider(WordSpider):
    name = "corner.shop"
    currency = "EUR"

    def __init__(self, shop: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shop = shop
        self.prices = {"ant": 3, "cat": 20}
        self.lock = threading.Lock()  # stays where it is; the rest must come all the same

    def price(self, word: str) -> str:
        return f"{self.prices.get(word, 1)} {self.currency}"

    @property
    def title(self) -> str:
        return self.shop.title()

    @staticmethod
    def double(n: int) -> int:
        return 2 * n


class ReadsSpider(WithCrawler):
    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        item["spider"] = spider.name
        item["same"] = spider is self.crawler.spider and spider.crawler is self.crawler
        item["shop"] = spider.shop
        item["title"] = spider.title
        item["price"] = spider.price(item["word"])
        item["double"] = type(spider).double(item["n"])
        item["missing"] = getattr(spider, "missing", None)
        item["class"] = type(spider).__qualname__
        item["is_shop"] = isinstance(spider, ShopSpider)
        item["argument"] = spider.argument
        return item


class CountsStats(WithCrawler):
    def open_spider(self) -> None:
        self.stats.set_value("case/opened", True)
        self.stats.inc_value("case/openings")
        self.stats.max_value("case/most_openings", 1)

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        length = len(item["word"])
        self.stats.inc_value("case/items")
        self.stats.inc_value("case/letters", length)
        self.stats.inc_value("case/from_a_hundred", start=100)
        self.stats.inc_value("case/seconds", 0.25)
        self.stats.inc_value(f"case/length/{length}")
        self.stats.max_value("case/longest", length)
        self.stats.min_value("case/shortest", length)
        self.stats.set_value("case/kind", "words")
        return item


class AddsToTheCrawlsStats(WithCrawler):
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.stats.inc_value("spider/items")
        self.stats.max_value("spider/most", item["n"])
        self.stats.min_value("spider/least", item["n"] - 5)
        return item


class ReadsStats(WithCrawler):
    """Reads what it wrote, what the spider wrote before, and what nobody wrote."""

    def open_spider(self) -> None:
        self.stats.set_value("case/limit", 7)

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["over"] = item["n"] > self.stats.get_value("case/limit")
        item["missing"] = self.stats.get_value("case/missing", "nothing")
        return item


class WritesInOrder(WithCrawler):
    """What was set last stays, which is only defined where one worker takes all items."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.stats.set_value("case/last", item["n"])
        self.stats.inc_value("case/so_far")
        item["so_far"] = self.stats.get_value("case/so_far")
        return item


class StatsSpider(WordSpider):
    """Has written stats before its first item."""

    name = "stats"

    async def start(self) -> AsyncIterator[Any]:
        stats: Any = self.crawler.stats
        stats.set_value("spider/items", 1000)
        stats.set_value("spider/most", 5)
        stats.set_value("spider/least", 0)
        async for item_or_request in super().start():
            yield item_or_request


class StatsBeforeLosses(WithCrawler):
    """The stats and records of a lost item count as inline."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.stats.inc_value("case/tried")
        logger.info("Trying %d", item["n"])
        if item["n"] % 2:
            raise ValueError(item["n"])
        return item


class Logs:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        n, word = item["n"], item["word"]
        logger.debug("Plain, with a %% in it: 100%")
        logger.info("Item %d is %r, %5.1f letters", n, word, len(word))
        logger.warning("%(word)s of %(n)03d", {"word": word, "n": n})
        logger.info("With extra", extra={"shop": "corner", "n": n, "parts": ["a", ("b",)]})
        logger.log(25, "A level between")
        logger.info("With the spider", extra={"spider": spider})
        logging.getLogger("library.of.others").warning("Heard from afar")
        return item


class LogsObjects:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        logger.info("An item: %s; a spider: %r; a lock: %s", item, spider, threading.Lock())
        item["changed"] = "after it was logged"
        return item


class LogsExceptions:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            int(item["word"])
        except ValueError as error:
            logger.error("Not a number", exc_info=True)
            logger.warning("Given as it is", exc_info=error)
            logger.exception("%s failed", item["word"], extra={"n": item["n"]})
        logger.info("No exception", exc_info=False)
        return item


class LogsByTheSpider:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        spider.logger.info("Said by the spider of %s", item["word"])
        spider.log("In the old way")
        return item


class LogsQuietly:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        quiet_logger.info("Nobody wants to know %d", item["n"])
        quiet_logger.error("But this %d", item["n"])
        item["wants_info"] = quiet_logger.isEnabledFor(logging.INFO)
        return item


class QuietSpider(WordSpider):
    """Quietens a logger, in the process where it lives and for this crawl."""

    name = "quiet"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> QuietSpider:
        quiet_logger.setLevel(logging.ERROR)
        return super().from_crawler(crawler, *args, **kwargs)


class Heard(logging.Handler):
    """Notes on the spider what is said of its attributes, so that they are more meanwhile."""

    def __init__(self, spider: Any) -> None:
        super().__init__()
        self._spider = spider

    def emit(self, record: logging.LogRecord) -> None:
        if " spider." in record.getMessage():
            setattr(self._spider, f"heard_{len(vars(self._spider))}", True)


class SetsAttributesAtAnyTime(WithCrawler):
    """Stands for a pipeline whose thread sets attributes, at the moment that is the worst."""

    def open_spider(self) -> None:
        self.heard = Heard(self.crawler.spider)
        logging.getLogger().addHandler(self.heard)

    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        spider.last = item["n"]
        return item

    def close_spider(self) -> None:
        logging.getLogger().removeHandler(self.heard)


class Uncountable(list[Any]):
    def __len__(self) -> int:
        raise RuntimeError("ask later")


class LazyProxy:
    """As of werkzeug outside of a context; Django's makes its object instead of raising."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("working outside of context")


class KeepsWhatNobodyMayLookAt:
    app = LazyProxy()
    rows = Uncountable()

    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        spider.app = LazyProxy()
        spider.rows = Uncountable()
        return item


class ChangesWhatItHasLogged(WithCrawler):
    """Puts what no process can be sent into what it has logged; what it counts counts all the
    same."""

    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        parts: list[Any] = [item["n"]]
        logger.info("With parts that change", extra={"parts": parts})
        parts.append(threading.Lock())
        self.stats.inc_value("case/counted")
        return item


class Reason(str):
    """Has what no process can be sent."""

    def __init__(self, text: str) -> None:
        self.lock = threading.Lock()


class ClosesForItsReason(WithCrawler):
    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        self.crawler.engine.close_spider(spider, Reason("enough"))  # type: ignore[union-attr]
        return item


class OneWordSpider(WordSpider):
    async def start(self) -> AsyncIterator[Any]:
        yield Request(PAGE, self.parse)

    def parse(self, response: Response) -> Iterator[Any]:
        yield self.make(0)


class EndsWhoCompares:
    def __eq__(self, other: object) -> bool:
        raise SystemExit("compared")

    __hash__ = None  # type: ignore[assignment]


class GoesOnSpider(WordSpider):
    """Gets attributes when it is opened, in ``start()``, and with each page."""

    categories: tuple[str, ...] = ("ants", "bees", "cats")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen: list[str] = []
        self.catalogue: dict[int, str] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> GoesOnSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.opened, signals.spider_opened)
        return spider

    def opened(self) -> None:
        self.state = {"runs": 1}

    async def start(self) -> AsyncIterator[Any]:
        await turns_of_the_loop()
        self.job = "job 1"
        self.catalogue.update((n, f"book {n}") for n in range(200))
        for category in self.categories:
            yield Request(f"{PAGE}{category}", self.parse, cb_kwargs={"category": category})

    def parse(self, response: Response, category: str = "") -> Iterator[Any]:
        self.page = EndsWhoCompares()
        self.category = category
        self.seen.append(category)
        self.state["runs"] += 1
        yield {"category": category}


class ReadsWhatHasChanged:
    def process_item(self, item: dict[str, Any], spider: Any) -> dict[str, Any]:
        item["now"] = spider.category
        item["job"] = spider.job
        item["seen"] = list(spider.seen)
        item["book"] = spider.catalogue[199]
        item["runs"] = spider.state["runs"]
        return item


CASES = [
    Case(
        "settings",
        SettingsSpider,
        {ReadsSettings: 300},
        TEN,
        settings={
            "CASE_NUMBER": 1,  # the spider's own is stronger
            "CASE_FLAG": "1",
            "CASE_LIST": "a,b",
            "CASE_DICT": {"a": [1]},
            "CASE_CLASS": Base,
            "CASE_UNPICKLABLE": lambda item: item,
        },
    ),
    Case(
        "spider_name_attributes_and_methods",
        ShopSpider,
        {ReadsSpider: 300},
        TEN,
        spider_arguments={"shop": "corner shop", "argument": "from -a"},
    ),
    Case("stats_increments", WordSpider, {CountsStats: 300}, TEN),
    Case("stats_on_top_of_the_crawls", StatsSpider, {AddsToTheCrawlsStats: 300}, TEN),
    Case("stats_read", StatsSpider, {ReadsStats: 300}, TEN),
    Case("stats_in_order", WordSpider, {WritesInOrder: 300}, TEN, workers=ONE_WORKER),
    Case(
        "stats_and_logs_of_lost_items",
        WordSpider,
        {StatsBeforeLosses: 300},
        Expected(scraped=5, failed=5),
    ),
    Case("logs", WordSpider, {Logs: 300}, TEN),
    Case("logs_of_objects", WordSpider, {LogsObjects: 300}, TEN, not_compared=RENDERED_EARLY),
    Case("logs_of_exceptions", WordSpider, {LogsExceptions: 300}, TEN),
    Case("logs_by_the_spiders_logger", WordSpider, {LogsByTheSpider: 300}, TEN),
    Case("logs_at_levels_of_the_parent", QuietSpider, {LogsQuietly: 300}, TEN),
    Case("spider_attributes_set_at_any_time", WordSpider, {SetsAttributesAtAnyTime: 300}, TEN),
    Case("objects_that_nobody_may_look_at", WordSpider, {KeepsWhatNobodyMayLookAt: 300}, TEN),
    Case(
        "stats_and_logs_that_change_to_what_cannot_cross",
        WordSpider,
        {ChangesWhatItHasLogged: 300},
        TEN,
        not_compared={"logs": "the list with the lock comes as its text"},
    ),
    Case(
        "closed_for_a_reason_that_cannot_cross",
        OneWordSpider,
        {ClosesForItsReason: 300},
        Expected(scraped=1),
        not_compared={"stats": "finish_reason is the text of the reason"},
    ),
    Case(
        "spider_attributes_that_change_as_it_goes_on",
        GoesOnSpider,
        {ReadsWhatHasChanged: 300},
        Expected(scraped=3),
        settings={"CONCURRENT_REQUESTS": 1},
    ),
]
