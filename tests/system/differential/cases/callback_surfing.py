"""Callbacks and Scrapy's own rules for requests: status codes, referers, depth, sites, the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, DontCloseSpider, StopDownload
from scrapy.http import HtmlResponse
from scrapy.spidermiddlewares.httperror import HttpError
from twisted.internet.error import ConnectionLost, DNSLookupError, TCPTimedOutError, TimeoutError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from .callback_losses import Asking, losing
from .callbacks import case
from .pages import SITE, Pages, SiteSpider


class Statuses(SiteSpider):
    def parse(self, response: Any) -> Any:
        for path, meta in (
            ("/missing", {"handle_httpstatus_list": [404]}),
            ("/forbidden", {"handle_httpstatus_all": True}),
            ("/busy", {}),
            ("/missing?2", {}),
            ("/moved", {"handle_httpstatus_list": [301], "dont_redirect": True}),
        ):
            yield response.follow(path, self.page, errback=self.failed, meta=meta)


class CallsItsCallback(Asking):
    """Takes a page that has a wrong status as a page."""

    def failed(self, failure: Any) -> Any:
        if failure.check(HttpError):
            response = failure.value.response
            assert response.request is failure.request
            return failure.request.callback(response, **failure.request.cb_kwargs)
        return None


class AsksAgain(Asking):
    def failed(self, failure: Any) -> Any:
        request = failure.request
        if request.cb_kwargs:
            yield {"gave": request.url, "after": request.cb_kwargs["tries"]}
        else:
            yield request.replace(dont_filter=True, cb_kwargs={"tries": 1}, errback=self.failed)


class InAsyncGenerator(Asking):
    async def failed(self, failure: Any) -> Any:
        yield {"url": failure.request.url}
        raise failure.value


class Tells(Asking):
    """Reads all that a failure says."""

    def failed(self, failure: Any) -> Any:
        yield {
            "brief": failure.getErrorMessage(),
            "last": failure.getTraceback().strip().splitlines()[-1],
            "is": [failure.check(OSError, HttpError) is not None, failure.type is HttpError],
            "request": failure.request.callback == self.page,
        }


class Trouble:
    """What a line does to a download."""

    errors: ClassVar[dict[str, Any]] = {
        "a": lambda: ResponseFailed([Failure(ConnectionLost("cut"))]),  # type: ignore[no-untyped-call]
        "b": lambda: DNSLookupError("no such host"),
        "c": lambda: TimeoutError("too long"),
        "d": lambda: TCPTimedOutError(110, "too long"),
    }

    def process_request(self, request: Request) -> None:
        raise self.errors[request.url[-1]]()


class Lines(Asking):
    paths = tuple("/" + name for name in "abcd")
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Trouble: 900, Pages: 1000}
    }

    def failed(self, failure: Any) -> Any:
        if failure.check(DNSLookupError):
            yield {"host": failure.request.url}
        elif failure.check(TimeoutError, TCPTimedOutError):
            yield {"late": failure.request.url, "args": failure.value.args}
        elif failure.check(ResponseFailed):
            reasons = [reason.type.__name__ for reason in failure.value.reasons]
            yield {"reasons": reasons, "response": failure.value.response}


class Stop:
    def process_request(self, request: Request) -> None:
        error: Any = StopDownload(fail=True)
        error.response = HtmlResponse(request.url, body=b"<title>half", flags=["download_stopped"])
        error.response.request = request
        raise error


class Stopped(Asking):
    paths = ("/a",)
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Stop: 900, Pages: 1000}
    }

    def failed(self, failure: Any) -> Any:
        response = failure.value.response
        yield {"body": response.text, "flags": response.flags, "fail": failure.value.fail}
        yield from self.page(response)


# Where it goes


class Referers(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page)
        yield response.follow("/b", self.page, headers={"Referer": None})
        yield response.follow("/c", self.page, headers={"Referer": "http://else.test"})
        yield response.follow("/d", self.page, meta={"referrer_policy": "no-referrer"})
        yield Request("http://else.test/e", self.page)

    def page(self, response: Any) -> Iterator[Any]:
        referer = response.request.headers.get("Referer")
        yield {"url": response.url, "referer": referer and referer.decode()}


class Nested(SiteSpider):
    """Each request has the next one in its ``meta``."""

    async def start(self) -> AsyncIterator[Any]:
        requests = [Request(f"{SITE}/{name}", self.parse) for name in "abc"]
        for request, following in zip(requests, requests[1:], strict=False):
            request.meta["next"] = following
        yield requests[0]

    def parse(self, response: Any) -> Any:
        yield {"url": response.url}
        yield response.meta.get("next")


class Deeper(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"depth": response.meta["depth"]}
        yield response.follow(f"/a?{response.meta['depth']}", self.parse, priority=2)


class Sites(SiteSpider):
    allowed_domains: ClassVar[list[str]] = ["site.test"]  # type: ignore[misc]

    def parse(self, response: Any) -> Any:
        yield Request("http://else.test/a", self.page)
        yield Request("http://else.test/b", self.page, meta={"allow_offsite": True})
        yield Request("http://sub.site.test/c", self.page)
        yield Request(f"{SITE}/d?{'long' * 30}", self.page)
        yield response.follow("/d", self.page)


# Signals and the end


class Idling(SiteSpider):
    """Gets its pages in batches, each when there is nothing to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches = [["a", "b"], ["c"]]

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Any:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.next_batch, signals.spider_idle)
        return spider

    def next_batch(self) -> None:
        if self.batches:
            for name in self.batches.pop(0):
                self.crawler.engine.crawl(Request(f"{SITE}/{name}", self.page))  # type: ignore[union-attr]
            raise DontCloseSpider

    def page(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url, "left": len(self.batches)}


class ClosesWhenIdle(Idling):
    def next_batch(self) -> None:
        raise CloseSpider("idle_enough")


class Counting(SiteSpider):
    """Signals change what its callback reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received = 0

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Any:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.count, signals.response_received)
        return spider

    def count(self) -> None:
        self.received += 1

    def parse(self, response: Any) -> Any:
        yield {"received": self.received}
        if self.received < 3:
            yield response.follow(f"/a?{self.received}", self.parse)


class FailsAtTheEnd(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        raise ValueError("at the end")


CASES = [
    case(
        "statuses_handled",
        Statuses,
        5,
        6,
        settings={"RETRY_ENABLED": False, "HTTPERROR_ALLOWED_CODES": [503]},
    ),
    case(
        "statuses_all_allowed",
        Statuses,
        5,
        6,
        settings={"RETRY_ENABLED": False, "HTTPERROR_ALLOW_ALL": True},
        alike=True,
    ),
    losing("errback_calls_its_callback", CallsItsCallback, 3, 4),
    losing("errback_asks_again", AsksAgain, 4, 8, alike=True),
    losing("errback_async_generator", InAsyncGenerator, 4, 4, alike=True),
    losing("errback_tells", Tells, 4, 4),
    losing("errback_of_lines", Lines, 4, 4),
    losing("errback_of_stopped_downloads", Stopped, 2, 1),
    case("referers", Referers, 5, 6),
    case(
        "referers_of_a_policy",
        Referers,
        5,
        6,
        settings={"REFERRER_POLICY": "unsafe-url"},
        alike=True,
    ),
    case("requests_in_meta", Nested, 3, 3),
    case(
        "depth_limited",
        Deeper,
        3,
        3,
        settings={"DEPTH_LIMIT": 2, "DEPTH_STATS_VERBOSE": True, "DEPTH_PRIORITY": 1},
    ),
    case("sites_and_long_urls", Sites, 3, 4, settings={"URLLENGTH_LIMIT": 60}, alike=True),
    case("batches_when_idle", Idling, 4, 4),
    case("closes_when_idle", ClosesWhenIdle, 1, 1, alike=True),
    case("signals_change_the_spider", Counting, 3, 3),
    case(
        "closes_after_an_item", SiteSpider, 1, 1, settings={"CLOSESPIDER_ITEMCOUNT": 1}, alike=True
    ),
    case(
        "closes_after_an_error",
        FailsAtTheEnd,
        1,
        1,
        settings={"CLOSESPIDER_ERRORCOUNT": 1},
        alike=True,
    ),
]
