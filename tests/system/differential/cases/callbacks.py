"""Callbacks in workers: what they may be, what they are given, what they yield."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import scrapy
from scrapy import FormRequest, Request
from scrapy.downloadermiddlewares.retry import get_retry_request
from scrapy.http import HtmlResponse, JsonRequest, Response

from scrapy_mpworkers import in_worker

from ..case import Case, Expected
from .lifecycle import RENDERED_EARLY
from .pages import SITE, Pages, SiteSpider
from .shapes import NEEDS_ASYNCIO
from .spiders import WORDS


def case(name: str, spider: type[scrapy.Spider], scraped: int, called: int, **more: Any) -> Case:
    """A case without pipelines, all callbacks of which run in workers."""
    callbacks = more.pop("callbacks", True)
    expected = more.pop("expected", Expected(scraped=scraped))
    return Case(name, spider, {}, expected, callbacks=callbacks, called=called, **more)


# What a callback may be


class Generator(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        for href in response.css("a::attr(href)").getall():
            yield response.follow(href, self.page)
            yield {"after": href}
        yield None
        yield {"n": 2}


class Listed(SiteSpider):
    def parse(self, response: Any) -> Any:
        return [{"n": 1}, response.follow("/a", self.page), {"n": 2}]


class Dict(SiteSpider):
    def parse(self, response: Any) -> Any:
        return {"n": 1}


class Nothing(SiteSpider):
    def parse(self, response: Any) -> Any:
        self.logger.info("nothing on %s", response.url)


class OneRequest(SiteSpider):
    def parse(self, response: Any) -> Any:
        return response.follow("/a", self.page)


class Coroutine(SiteSpider):
    async def parse(self, response: Any) -> Any:
        return [{"n": 1}, response.follow("/a", self.one)]

    async def one(self, response: Any) -> Any:
        return {"n": 2}


class AsyncGenerator(SiteSpider):
    async def parse(self, response: Any) -> Any:
        for n in range(3):
            yield {"n": n}
        yield response.follow("/a", self.page)


class Sleeping(SiteSpider):
    async def parse(self, response: Any) -> Any:
        for n in range(3):
            await asyncio.sleep(0.01)
            yield {"n": n}


class Item(scrapy.Item):
    title = scrapy.Field()
    parts = scrapy.Field()


@dataclass
class Data:
    title: str
    parts: list[Any]


class Kinds(SiteSpider):
    def parse(self, response: Any) -> Any:
        parts: list[Any] = [1, (2, "three")]
        yield Item(title="item", parts=parts)
        yield Data("data", parts)
        yield {"title": "dict", "parts": parts, "page": response, "spider": self}
        yield "a text"


class Super(Generator):
    def parse(self, response: Any) -> Any:
        yield {"first": True}
        yield from super().parse(response)


class SuperAsCallback(Generator):
    def page(self, response: Any) -> Any:
        yield {"own": True}
        if response.url.endswith("/a"):
            yield response.follow("/d", super().page)


class ReturnsAGenerator(SiteSpider):
    """Is no generator itself, and reads what a spider middleware has left on the request."""

    def parse(self, response: Any) -> Any:
        return (response.follow(f"/{path}", self.page) for path in "abc")

    def page(self, response: Any) -> Iterator[Any]:
        return self.inner(response)

    def inner(self, response: Any) -> Iterator[Any]:
        yield {"depth": response.meta["depth"], "url": response.url}


class OnDisk(Generator):
    """Its requests wait in files."""

    folders: ClassVar[list[Any]] = []

    @classmethod
    def update_settings(cls, settings: Any) -> None:
        super().update_settings(settings)
        cls.folders.append(TemporaryDirectory())  # until this process ends
        settings.set("JOBDIR", cls.folders[-1].name, "spider")


class Private(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.__hidden)

    def __hidden(self, response: Any) -> Any:
        yield {"hidden": response.url}


def shouting(function: Callable[..., Any]) -> Callable[..., Any]:
    def shout(self: Any, response: Any) -> Any:
        for result in function(self, response):
            yield {**result, "loud": True}

    return shout


class Decorated(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.first)
        yield response.follow("/b", self.second)

    @shouting
    def first(self, response: Any) -> Any:
        yield {"n": 1}

    @shouting
    def second(self, response: Any) -> Any:
        yield {"n": 2}


class Marked(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.heavy)

    @in_worker
    def heavy(self, response: Any) -> Any:
        yield {"heavy": response.url}
        yield response.follow("/b", self.page)


class RaisingProperty(SiteSpider):
    @property
    def session(self) -> Any:
        raise RuntimeError("not logged in")

    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, errback=self.failed)


class ReturnsAValue(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        return [{"n": 2}]


class Many(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n in range(1000):
            yield {"n": n, "word": WORDS[n % 10] * 10}


class Large(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n in range(4):
            yield {"n": n, "text": "x" * 400_000}
            yield response.follow(f"/{'abcd'[n]}", self.page, body=b"y" * 300_000)


# What a callback is given


class Arguments(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n, href in enumerate("abc"):
            yield response.follow(f"/{href}", self.page, cb_kwargs={"n": n, "words": [href]})

    def page(self, response: Any, n: int, words: list[str], more: int = 7) -> Iterator[Any]:
        yield {"n": n, "words": words, "more": more, "again": response.cb_kwargs}


class WrongArguments(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, cb_kwargs={"unknown": 1})


class Encodings(SiteSpider):
    def parse(self, response: Any) -> Any:
        for path in ("/shift_jis", "/latin", "/plain", "/json", "/zipped"):
            yield response.follow(path, self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {
            "kind": type(response).__name__,
            "encoding": response.encoding,
            "declared": response._declared_encoding(),
            "text": response.text,
            "page": repr(response),
            "flags": response.flags,
        }
        yield response.request.replace(dont_filter=True, callback=self.again)

    def again(self, response: Any) -> Any:
        yield {"text": response.text[:40], "encoding": response.encoding}


class Binary(SiteSpider):
    def parse(self, response: Any) -> Any:
        for path in ("/binary", "/file.gz"):
            yield response.follow(path, self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"kind": type(response).__name__, "size": len(response.body), "page": response}


class Connect:
    def process_response(self, request: Request, response: Response) -> Response:
        return response.replace(
            ip_address=ip_address("127.0.0.1"), protocol="h2", flags=["cached", *response.flags]
        )


class OfTheConnection(SiteSpider):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Pages: 1000, Connect: 10}
    }

    def parse(self, response: Any) -> Any:
        yield {
            "certificate": response.certificate,
            "address": str(response.ip_address),
            "protocol": response.protocol,
            "status": response.status,
            "flags": response.flags,
            "request": response.request.url,
            "meta": sorted(response.meta),
        }


class OwnResponse(HtmlResponse):
    attributes: tuple[str, ...] = (*HtmlResponse.attributes, "rank")

    def __init__(self, *args: Any, rank: int = 0, **kwargs: Any) -> None:
        self.rank = rank
        self.notes: list[str] = []
        super().__init__(*args, **kwargs)


class MakeOwnResponses:
    def process_response(self, request: Request, response: Response) -> Response:
        own = response.replace(cls=OwnResponse, rank=5)
        own.notes.append("made on the way")
        own.extra = {"set": "from outside"}  # type: ignore[attr-defined]
        return own


class OwnResponses(SiteSpider):
    custom_settings: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "DOWNLOADER_MIDDLEWARES": {Pages: 1000, MakeOwnResponses: 10}
    }

    def parse(self, response: Any) -> Any:
        yield {"rank": response.rank, "notes": response.notes, "extra": response.extra}
        yield {"kind": type(response.replace(rank=6)).__name__, "page": response}


# What it yields


class OwnRequest(Request):
    attributes: tuple[str, ...] = (*Request.attributes, "rank")

    def __init__(self, *args: Any, rank: int = 0, **kwargs: Any) -> None:
        self.rank = rank
        super().__init__(*args, **kwargs)


class Requests(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow(
            "/a",
            self.page,
            method="POST",
            headers={"X-Word": ["ant", "bee"], "Accept": "text/html"},
            body="“body”",
            cookies={"session": "s1"},
            flags=["mine"],
            priority=-3,
            dont_filter=True,
            errback=self.failed,
            encoding="utf-8",
        )
        yield response.follow("/b", cookies=[{"name": "c", "value": "v", "path": "/b"}])
        yield response.follow("/b", self.page)
        yield response.follow("/b", self.page, dont_filter=True)
        yield from response.follow_all(css="a", callback=self.page, meta={"depth": 0, "all": 1})
        yield Request("HTTP://Site.test/c?b=2&a=1#part", self.page)


class OwnRequests(SiteSpider):
    def parse(self, response: Any) -> Any:
        request = OwnRequest(f"{SITE}/a", self.page, rank=4)
        request.extra = ["set", "from", "outside"]  # type: ignore[attr-defined]
        yield request

    def page(self, response: Any) -> Iterator[Any]:
        request = response.request
        yield {"kind": type(request).__name__, "rank": request.rank, "extra": request.extra}
        yield request.replace(url=f"{SITE}/b", rank=8, callback=self.last)

    def last(self, response: Any) -> Any:
        yield {"rank": response.request.rank}


class Forms(SiteSpider):
    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/login")

    def parse(self, response: Any) -> Any:
        yield FormRequest.from_response(response, formdata={"q": "bee"}, callback=self.page)
        yield FormRequest(f"{SITE}/found", formdata={"a": "1"}, callback=self.page)
        yield JsonRequest(f"{SITE}/json", data={"n": [1]}, callback=self.data)

    def data(self, response: Any) -> Any:
        yield {"words": response.json()["words"], "sent": response.request.body.decode()}
        yield response.request.replace(data={"n": 2}, callback=self.last)

    def last(self, response: Any) -> Any:
        yield {"sent": response.request.body.decode(), "kind": type(response.request).__name__}


class Itself(SiteSpider):
    def parse(self, response: Any) -> Any:
        times = response.meta.get("times", 0)
        yield {"times": times}
        if times < 2:
            request = response.request
            request.meta["times"] = times + 1
            yield request.replace(dont_filter=True)


class RedirectAndRetry(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/moved", self.page, cb_kwargs={"of": "moved"}, meta={"m": 1})
        yield response.follow("/busy", self.page, cb_kwargs={"of": "busy"}, errback=self.failed)
        yield response.follow("/b", self.again)

    def page(self, response: Any, of: str) -> Iterator[Any]:
        yield {"of": of, "url": response.url, "from": response.meta.get("redirect_urls")}

    def again(self, response: Any) -> Any:
        request = get_retry_request(response.request, spider=self, reason="not complete")
        yield {"again": request is not None}
        yield request


class OnTheWay(SiteSpider):
    """Its request has callables that no process can be sent, and goes on with them."""

    async def start(self) -> AsyncIterator[Any]:
        count = iter(range(9))
        yield Request(
            f"{SITE}/",
            self.parse,
            errback=lambda failure: {"failed": next(count), "of": str(failure)},
        )

    def parse(self, response: Any) -> Any:
        yield response.request.replace(url=f"{SITE}/a", callback=self.page)
        yield response.request.replace(url=f"{SITE}/missing", callback=self.page)


class Table(SiteSpider):
    """Has its callbacks in a table."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = {"a": self.page, "b": self.other, "c": lambda response: {"c": response.url}}

    def parse(self, response: Any) -> Any:
        for path, callback in self.table.items():
            yield response.follow(f"/{path}", callback)

    def other(self, response: Any) -> Any:
        return {"other": response.url, "names": sorted(self.table)}


class CallablesOfAllKinds(SiteSpider):
    def parse(self, response: Any) -> Any:
        word = response.css("title::text").get()
        yield response.follow("/a", lambda response: {"lambda": response.url, "word": word})
        yield response.follow("/b", partial(self.with_word, word=word))
        yield response.follow("/c", self.closure(word))
        yield response.follow("/d", of_the_module)
        yield response.follow("/e", self.of_the_class, errback=lambda failure: None)

    def with_word(self, response: Any, word: str) -> Any:
        yield {"partial": response.url, "word": word, "name": self.name}

    def closure(self, word: str) -> Any:
        def inner(response: Any) -> Any:
            yield {"closure": response.url, "word": word, "name": self.name}

        return inner

    @classmethod
    def of_the_class(cls, response: Any) -> Any:
        yield {"class": cls.__name__}


def of_the_module(response: Any) -> Any:
    yield {"module": response.url}


CASES = [
    case("callback_generator", Generator, 8, 4),
    case("callback_list", Listed, 3, 2, alike=True),
    case("callback_dict", Dict, 1, 1, alike=True),
    case("callback_none", Nothing, 0, 1),
    case("callback_request", OneRequest, 1, 2, alike=True),
    case("callback_coroutine", Coroutine, 2, 2),
    case("callback_async_generator", AsyncGenerator, 4, 2),
    case("callback_sleeps", Sleeping, 3, 1, excluded=NEEDS_ASYNCIO),
    case("callback_item_kinds", Kinds, 4, 1, feed_lines=2),
    case("callback_calls_super", Super, 9, 4, alike=True),
    case("callback_of_super", SuperAsCallback, 9, 4),
    case("callback_private", Private, 1, 2, alike=True),
    case("callback_decorated", Decorated, 2, 3, alike=True),
    case("callback_marked", Marked, 2, 1, callbacks=()),
    case("callback_by_name", Generator, 8, 3, callbacks=["page"], alike=True),
    case("callback_raising_property", RaisingProperty, 1, 2, feed_lines=0, alike=True),
    case("callback_returns_a_value", ReturnsAValue, 1, 1, alike=True),
    case("callback_thousand_results", Many, 1000, 1),
    case("callback_large_results", Large, 8, 5),
    case("callback_arguments", Arguments, 3, 4),
    case("callback_wrong_arguments", WrongArguments, 0, 2, alike=True),
    case("callback_encodings", Encodings, 10, 11),
    case("callback_binary", Binary, 2, 3, alike=True),
    # By name: one that asks for the certificate is left out of all.
    case("callback_connection", OfTheConnection, 1, 1, callbacks=["parse"], alike=True),
    case("callback_own_responses", OwnResponses, 2, 1),
    case("callback_requests", Requests, 7, 9, settings={"COOKIES_ENABLED": False}),
    case("callback_own_requests", OwnRequests, 2, 3),
    case("callback_forms", Forms, 4, 5),
    case("callback_its_request_replaced", Itself, 3, 3),
    case("callback_redirect_and_retry", RedirectAndRetry, 5, 6, not_compared=RENDERED_EARLY),
    case("callback_kept_callables", OnTheWay, 2, 2),
    case("callback_table", Table, 3, 3, alike=True),
    case("callback_returns_a_generator", ReturnsAGenerator, 3, 4, alike=True),
    case("callback_requests_on_disk", OnDisk, 8, 4),
    case("callback_callables_of_all_kinds", CallablesOfAllKinds, 5, 1),
]
