"""Errbacks, exceptions of callbacks, and spider middlewares between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from scrapy import Request, Spider
from scrapy.exceptions import CloseSpider, DropItem, IgnoreRequest
from scrapy.http import Response
from scrapy.spidermiddlewares.httperror import HttpError

from ..case import Case
from .callbacks import case
from .lifecycle import RENDERED_EARLY
from .pages import SITE, Pages, SiteSpider


class Asking(SiteSpider):
    """Asks for pages that are not to be had; a subclass has the errback."""

    paths: tuple[str, ...] = ("/gone", "/missing", "/busy", "/forbidden")

    async def start(self) -> AsyncIterator[Any]:
        for path in self.paths:
            yield Request(
                SITE + path, self.page, errback=self.failed, cb_kwargs={}, meta={"note": path}
            )


class ErrbackYields(Asking):
    def failed(self, failure: Any) -> Iterator[Any]:
        response = getattr(failure.value, "response", None)
        yield {
            "error": repr(failure.value),
            "type": failure.type.__name__,
            "http": failure.check(HttpError) is not None,
            "status": response and response.status,
            "title": response and response.css("title::text").get(),
            "note": failure.request.meta["note"],
            "of": response and response.request.url,
        }
        yield Request(f"{SITE}/a", self.page, dont_filter=True)


class ErrbackReturns(Asking):
    def failed(self, failure: Any) -> Any:
        return {"url": failure.request.url, "message": failure.getErrorMessage()}


class ErrbackReturnsFailure(Asking):
    def failed(self, failure: Any) -> Any:
        return failure


class ErrbackRaisesItsValue(Asking):
    def failed(self, failure: Any) -> Any:
        raise failure.value


class ErrbackRaisesLater(Asking):
    def failed(self, failure: Any) -> Iterator[Any]:
        yield {"url": failure.request.url}
        raise failure.value


class ErrbackReturnsAGenerator(ErrbackRaisesLater):
    def failed(self, failure: Any) -> Iterator[Any]:
        return super().failed(failure)


class ErrbackRaisesAnother(Asking):
    def failed(self, failure: Any) -> Any:
        raise KeyError(f"what of {failure.request.url}")


class ErrbackTraps(Asking):
    def failed(self, failure: Any) -> Any:
        failure.trap(HttpError)
        return {"trapped": failure.value.response.status}


class ErrbackOfNothing(Asking):
    def failed(self, failure: Any) -> Any:
        self.logger.warning("lost %s: %s", failure.request.url, failure.value)


class ErrbackCoroutine(Asking):
    async def failed(self, failure: Any) -> Any:
        return [{"url": failure.request.url}]


class OwnError(IgnoreRequest):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint


class RefuseSome:
    def process_request(self, request: Request) -> None:
        if request.url.endswith("/a"):
            raise OwnError(7, hint="no a")


class OwnErrors(Asking):
    paths = ("/a", "/b")
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Pages: 1000, RefuseSome: 10}
    }

    def failed(self, failure: Any) -> Any:
        error = failure.value
        yield {"error": str(error), "code": error.code, "hint": error.hint}


class Handled(Asking):
    handle_httpstatus_list = (404, 503)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"status": response.status, "url": response.url}


class OwnException(Exception):
    def __init__(self, url: str, *, at: int) -> None:
        super().__init__(url)
        self.at = at


class RaisesAtTheCall(SiteSpider):
    def parse(self, response: Any) -> Any:
        raise OwnException(response.url, at=0)


class RaisesFirst(SiteSpider):
    def parse(self, response: Any) -> Any:
        if response:
            raise OwnException(response.url, at=0)
        yield


class RaisesMidway(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        yield response.follow("/a", self.page)
        raise OwnException(response.url, at=2)


class RaisesLate(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n in range(450):
            yield {"n": n}
        raise OwnException(response.url, at=450)


class RaisesInCoroutine(SiteSpider):
    async def parse(self, response: Any) -> Any:
        raise OwnException(response.url, at=0)


class RaisesInAsyncGenerator(SiteSpider):
    async def parse(self, response: Any) -> Any:
        yield {"n": 1}
        raise OwnException(response.url, at=1)


class RaisesScrapys(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n, path in enumerate("abc"):
            yield response.follow(f"/{path}", self.page, cb_kwargs={"n": n})

    def page(self, response: Any, n: int) -> Iterator[Any]:
        yield {"n": n}
        raise (IgnoreRequest("not mine"), DropItem("not here"), AttributeError("selector"))[n]


class NotText(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/binary", self.page)


class WrongResults(SiteSpider):
    def parse(self, response: Any) -> Any:
        return 5


class NoCallback(SiteSpider):
    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/")

    parse = Spider.parse


class ClosesBefore(SiteSpider):
    def parse(self, response: Any) -> Any:
        raise CloseSpider("nothing_to_do")


class ClosesAfter(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        yield {"n": 2}
        raise CloseSpider("enough")


class ClosesInErrback(Asking):
    paths = ("/missing",)

    def failed(self, failure: Any) -> Any:
        raise CloseSpider("banned")


class ClosesByEngine(SiteSpider):
    async def parse(self, response: Any) -> Any:
        yield {"n": 1}
        self.crawler.engine.close_spider(self, "by_engine")


# Spider middlewares


class ChangeResults:
    """Drops some results, changes others, and adds one."""

    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for one in result:
            if isinstance(one, Request):
                if not one.url.endswith("/b"):
                    yield one.replace(headers={"X-Changed": "1"}, meta={**one.meta, "added": 1})
            elif one.get("n") != 2:
                yield {**one, "changed": True}
        yield {"added": response.url}


class Swallow:
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        return [{"swallowed": str(exception), "kind": type(exception).__name__}]


class SwallowAll:
    def process_spider_exception(self, response: Response, exception: Exception) -> Any:
        return ()


class LookOn:
    def process_spider_exception(self, response: Response, exception: Exception) -> None:
        response.meta["raised"] = repr(exception)


class RefuseInput:
    def process_spider_input(self, response: Response) -> None:
        if response.url.endswith("/"):
            raise OwnException("not this", at=-1)


class Between(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        yield {"n": 2}
        yield from response.follow_all(css="a", callback=self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"headers": str(response.request.headers.get("X-Changed")), "url": response.url}


class TwoErrors(Between):
    def page(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url}
        raise OwnException(response.url, at=1)


def losing(name: str, spider: type[Asking], scraped: int, called: int, **more: Any) -> Case:
    """A case whose pages are not to be had."""
    more = {"settings": {"RETRY_ENABLED": False}, **more}
    return case(name, spider, scraped, called, **more)


CASES = [
    losing("errback_yields", ErrbackYields, 8, 8),
    losing("errback_returns", ErrbackReturns, 4, 4, alike=True),
    losing("errback_returns_its_failure", ErrbackReturnsFailure, 0, 4),
    losing("errback_raises_its_value", ErrbackRaisesItsValue, 0, 4),
    losing("errback_raises_its_value_later", ErrbackRaisesLater, 4, 4),
    losing("errback_returns_a_generator", ErrbackReturnsAGenerator, 4, 4),
    losing("errback_raises_another", ErrbackRaisesAnother, 0, 4),
    losing("errback_traps", ErrbackTraps, 3, 4),
    losing("errback_of_nothing", ErrbackOfNothing, 0, 4, not_compared=RENDERED_EARLY),
    losing("errback_coroutine", ErrbackCoroutine, 4, 4, alike=True),
    losing("errback_of_own_error", OwnErrors, 2, 2),
    losing("errback_after_retries", ErrbackYields, 8, 8, settings={}),
    losing("errback_alone", ErrbackYields, 8, 4, callbacks=["failed"], alike=True),
    losing("http_errors_handled", Handled, 4, 4),
    case("raises_at_the_call", RaisesAtTheCall, 0, 1),
    case("raises_first", RaisesFirst, 0, 1, alike=True),
    case("raises_midway", RaisesMidway, 2, 2),
    case("raises_late", RaisesLate, 450, 1),
    case("raises_in_a_coroutine", RaisesInCoroutine, 0, 1, alike=True),
    case("raises_in_an_async_generator", RaisesInAsyncGenerator, 1, 1),
    case("raises_exceptions_of_scrapy", RaisesScrapys, 3, 4),
    case("raises_as_the_page_is_no_text", NotText, 0, 2, alike=True),
    case("returns_what_cannot_be_iterated", WrongResults, 1, 1, feed_lines=0, alike=True),
    case("no_callback", NoCallback, 0, 1, alike=True),
    case("closes_before_results", ClosesBefore, 0, 1),
    case("closes_after_results", ClosesAfter, 2, 1),
    losing("closes_in_an_errback", ClosesInErrback, 0, 1, alike=True),
    case("closes_by_the_engine", ClosesByEngine, 1, 1, alike=True),
    case("middleware_changes_results", Between, 6, 3, spider_middlewares={ChangeResults: 500}),
    case(
        "middleware_swallows_at_the_call",
        RaisesAtTheCall,
        1,
        1,
        spider_middlewares={Swallow: 500, ChangeResults: 600},
    ),
    case("middleware_swallows_midway", RaisesMidway, 3, 2, spider_middlewares={Swallow: 500}),
    case(
        "middleware_swallows_all",
        TwoErrors,
        5,
        4,
        spider_middlewares={SwallowAll: 500, LookOn: 600},
        alike=True,
    ),
    case("middleware_looks_on", TwoErrors, 5, 4, spider_middlewares={LookOn: 500}, alike=True),
    case("middleware_refuses_the_page", Between, 1, 1, spider_middlewares={RefuseInput: 500}),
]
