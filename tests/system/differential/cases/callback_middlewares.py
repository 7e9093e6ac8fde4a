"""Middlewares around callbacks: they recover, break, cut short, and look on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import scrapy
from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import Response

from .callback_losses import Between, OwnException, RaisesLate, RaisesMidway, RefuseInput, Swallow
from .callbacks import case
from .pages import SITE, SiteSpider

# Exceptions of callbacks


class Recovering(SiteSpider):
    """Fails at its first page, and not when that is asked for again."""

    def parse(self, response: Any) -> Any:
        yield {"again": response.meta.get("again")}
        if "again" not in response.meta:
            raise OwnException(response.url, at=1)


class RecoveringInAsyncGenerator(Recovering):
    async def parse(self, response: Any) -> Any:
        for result in super().parse(response):
            yield result


class AskAgain:
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        yield {"recovered": str(exception), "at": getattr(exception, "at", None)}
        yield Request(response.url, dont_filter=True, meta={"again": True})


class AskAgainLater(AskAgain):
    async def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        for one in super().process_spider_exception(response, exception):
            yield one


class RaiseAnother:
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        raise KeyError(response.url) from exception


class ReturnWhatIsNone:
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        return 5


class LookAtCause:
    """Keeps what it sees of an exception in the stats."""

    def __init__(self, crawler: Crawler) -> None:
        self._stats = crawler.stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> LookAtCause:
        return cls(crawler)

    def process_spider_exception(self, response: Response, exception: Exception) -> None:
        seen = (type(exception).__mro__, exception.args, vars(exception))
        self._stats.set_value(f"seen/{response.url}", repr(seen))


class WithoutErrback(Between):
    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/")
        yield Request(f"{SITE}/d", self.page)


# Results


class Many(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n in range(450):
            yield {"n": n, "steps": ["parse"]}


class Cleaning(Many):
    """Has something to do when nobody reads on."""

    def parse(self, response: Any) -> Any:
        try:
            yield from super().parse(response)
        finally:
            self.crawler.stats.inc_value("cleaned")
            self.logger.warning("cleaned up")


class Step:
    """Notes that it had an item."""

    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for one in result:
            one["steps"].append(type(self).__name__)
            yield one


class BreakAt3(Step):
    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for one in super().process_spider_output(response, result):
            yield one
            if one["n"] == 3:
                raise LookupError("no more")


class StepBehind(Step):
    def process_spider_exception(self, response: Response, exception: Exception) -> None:
        return None


class Mend(Step):
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        return [{"n": -1, "steps": [repr(exception)]}]


class LastStep(Step):
    pass


class FirstThree:
    """Reads no further than it needs."""

    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        count = 0
        async for one in result:
            yield one
            count += 1
            if count == 3:
                return


class BothWays:
    """Reads all before it gives the first one, in the opposite order."""

    def process_spider_output(self, response: Response, result: Any) -> Any:
        return reversed(list(result))

    async def process_spider_output_async(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        for one in reversed([one async for one in result]):
            yield one


class BreakAtOnce:
    def process_spider_output(self, response: Response, result: Any) -> Any:
        if response.url.endswith("/"):
            raise LookupError("nothing of this one")
        yield from result

    async def process_spider_output_async(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        if response.url.endswith("/"):
            raise LookupError("nothing of this one")
        async for one in result:
            yield one


class PlainOnly:
    """Takes no asynchronous results, as Scrapy 2.15 allows."""

    def process_spider_output(self, response: Response, result: Any, spider: Any) -> Any:
        for one in result:
            yield {**one, "plain": True} if isinstance(one, dict) else one


#: Python closes a generator that nobody reads on when it finds it, which may be after the crawl.
CLEANED_LATER = dict.fromkeys(("logs", "log_templates", "stats"), "no rule says when it cleans up")
STEPS = {BreakAt3: 900, StepBehind: 800, Mend: 500, LastStep: 300}

CASES = [
    case("middleware_asks_again", Recovering, 3, 2, spider_middlewares={AskAgain: 10}),
    case(
        "middleware_asks_again_of_an_async_generator",
        RecoveringInAsyncGenerator,
        3,
        2,
        spider_middlewares={AskAgain: 10},
        alike=True,
    ),
    case(
        "middleware_raises_another",
        RaisesMidway,
        2,
        2,
        spider_middlewares={RaiseAnother: 10},
        alike=True,
    ),
    case(
        "middleware_returns_what_is_none",
        RaisesMidway,
        2,
        2,
        spider_middlewares={ReturnWhatIsNone: 10},
        alike=True,
    ),
    case(
        "middleware_looks_at_exceptions",
        RaisesMidway,
        2,
        2,
        spider_middlewares={LookAtCause: 1},
        alike=True,
    ),
    case(
        "middleware_refuses_without_errback",
        WithoutErrback,
        2,
        1,
        spider_middlewares={RefuseInput: 8, Swallow: 6},
    ),
    case(
        "middleware_breaks_at_once",
        WithoutErrback,
        1,
        1,
        spider_middlewares={BreakAtOnce: 1},
        alike=True,
    ),
    case("middleware_reads_three", Many, 3, 1, spider_middlewares={FirstThree: 10}),
    case(
        "middleware_reads_three_of_one_that_cleans",
        Cleaning,
        3,
        1,
        spider_middlewares={FirstThree: 10},
        not_compared=CLEANED_LATER,
        alike=True,
    ),
    case("middleware_turns_round", Many, 450, 1, spider_middlewares={BothWays: 10}, alike=True),
]

if scrapy.version_info >= (2, 16):  # before, Scrapy fails in these cases
    CASES += [
        case(
            "middleware_asks_again_later",
            Recovering,
            3,
            2,
            spider_middlewares={AskAgainLater: 10},
            alike=True,
        ),
        case("middleware_breaks_midway", Many, 5, 1, spider_middlewares=STEPS),
    ]
else:
    PLAIN: dict[Any, int | None] = {PlainOnly: 500}
    CASES += [
        case("plain_middleware", Between, 5, 4, spider_middlewares=PLAIN),
        case("plain_middleware_of_many", Many, 450, 1, spider_middlewares=PLAIN, alike=True),
        case("plain_middleware_raises_midway", RaisesMidway, 2, 2, spider_middlewares=PLAIN),
        case(
            "plain_middleware_raises_late", RaisesLate, 450, 1, spider_middlewares=PLAIN, alike=True
        ),
        case(
            "plain_middleware_recovers",
            Recovering,
            3,
            2,
            spider_middlewares={**PLAIN, AskAgain: 10},
        ),
        case(
            "plain_middleware_async_generator",
            RecoveringInAsyncGenerator,
            0,
            1,
            spider_middlewares=PLAIN,
        ),
    ]
