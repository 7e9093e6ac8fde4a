"""Requests and their callables as middlewares see them, change them, and give them to responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import HtmlResponse, Response
from scrapy.http.request import NO_CALLBACK

from .callbacks import case
from .pages import SITE, Pages, SiteSpider


class TakesAll(SiteSpider):
    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/", self.parse, cb_kwargs={"own": 1})

    def parse(self, response: Any, own: int, **more: Any) -> Any:  # type: ignore[override]
        yield {"own": own, "more": more, "meta": response.meta["at_input"]}
        yield response.follow("/a", self.page, cb_kwargs={"own": own + 1})

    def page(self, response: Any, **all_of_them: Any) -> Iterator[Any]:
        yield {"all": all_of_them, "same": response.cb_kwargs is response.request.cb_kwargs}


class PutIn:
    async def process_start(self, start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in start:
            request.cb_kwargs["at_start"] = True
            yield request

    def process_spider_input(self, response: Any) -> None:
        response.request.cb_kwargs["at_input"] = response.status
        response.meta["at_input"] = {"status": response.status}

    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for one in result:
            if isinstance(one, Request):
                one.cb_kwargs["at_output"] = response.url
            yield one


class PutInAtDownload:
    def process_request(self, request: Request) -> None:
        request.cb_kwargs["at_request"] = request.method

    def process_response(self, request: Request, response: Response) -> Response:
        request.cb_kwargs["at_response"] = response.status
        return response


class PutInBySettings(TakesAll):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {PutInAtDownload: 900, Pages: 1000}
    }


class Bound(SiteSpider):
    """Says which request it was given."""

    def parse(self, response: Any) -> Any:
        yield {"parse": response.url, "of": response.request.url, "meta": [*response.meta]}

    def other(self, response: Any, of: str = "") -> Iterator[Any]:
        yield {"other": response.url, "of": of, "asked": response.request.url}
        yield response.follow("/d", self.page, meta={"handled": True})


class OtherRequest:
    """Gives a response another request, with another callback."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> OtherRequest:
        return cls(crawler)

    def process_response(self, request: Request, response: Response) -> Response:
        if "handled" in request.meta:
            return response
        other = request.replace(
            url=f"{SITE}/other",
            callback=self._crawler.spider.other,  # type: ignore[union-attr]
            cb_kwargs={"of": "a middleware"},
        )
        return response.replace(request=other)


class BareRequest:
    def process_response(self, request: Request, response: Response) -> Response:
        return response.replace(request=Request("http://elsewhere.test/"))


class Rescue:
    def process_exception(self, request: Request, exception: Exception) -> Response:
        return HtmlResponse(
            "http://localhost/", body=repr(exception).encode(), request=Request(f"{SITE}/rescued")
        )


class BoundToOther(Bound):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {OtherRequest: 10, Pages: 1000}
    }


class BoundToBare(Bound):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {BareRequest: 10, Pages: 1000}
    }


class Rescued(Bound):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Rescue: 10, Pages: 1000}
    }

    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/gone", self.parse, errback=self.failed)


class Callables(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, errback=self.failed)
        yield response.follow("/b", NO_CALLBACK)
        yield response.follow("/c")
        yield {"own": response.request.callback == self.parse, "no": response.request.callback}


class LookAtCallables:
    """Compares callables with what it knows, as middlewares do that leave some out."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> LookAtCallables:
        return cls(crawler)

    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        spider: Any = self._crawler.spider
        async for one in result:
            if isinstance(one, Request):
                same = (one.callback == spider.page, one.errback == spider.failed)
                yield {"same": same, "no": one.callback is NO_CALLBACK, "url": one.url}
            yield one


CASES = [
    case("middleware_puts_in_arguments", PutInBySettings, 2, 2, spider_middlewares={PutIn: 750}),
    case("request_with_another_callback", BoundToOther, 2, 2),
    case("request_without_a_callback", BoundToBare, 1, 1, alike=True),
    case("request_of_a_rescued_page", Rescued, 1, 1),
    case("middleware_knows_callables", Callables, 9, 3, spider_middlewares={LookAtCallables: 10}),
]
