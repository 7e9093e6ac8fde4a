"""Shapes of callbacks, of what they return, and of what they raise, further than ``callbacks``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partialmethod
from itertools import chain
from typing import Any

import scrapy
from itemloaders.processors import MapCompose, TakeFirst
from scrapy import Request
from scrapy.http import XmlRpcRequest
from scrapy.link import Link
from scrapy.linkextractors import LinkExtractor
from scrapy.loader import ItemLoader
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.request import request_from_dict
from twisted.internet.defer import succeed

from .callback_middlewares import Cleaning, LookAtCause
from .callbacks import Item, case
from .pages import SITE, SiteSpider
from .shapes import NEEDS_ASYNCIO

# What a callback may be


class Names(SiteSpider):
    """Its callbacks have names in all ways that Python has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.of_instance = self.page

    def parse(self, response: Any) -> Any:
        callbacks = (self.alias, self.in_lambda, self.given, self.without_self, self.of_instance)
        for path, callback in zip("abcde", callbacks, strict=True):
            yield response.follow(f"/{path}", callback)

    def with_word(self, response: Any, word: str = "") -> Any:
        yield {"word": word, "url": response.url}

    alias = with_word
    given = partialmethod(with_word, word="given")
    in_lambda = lambda self, response: {"lambda": self.name, "url": response.url}  # noqa: E731

    @staticmethod
    def without_self(response: Any) -> Any:
        return {"static": response.url}


class DeferredCoroutine(SiteSpider):
    async def parse(self, response: Any) -> Any:
        first = await succeed(1)
        second = await maybe_deferred_to_future(succeed(2))
        return [{"n": first}, {"n": second}]


class DeferredGenerator(SiteSpider):
    async def parse(self, response: Any) -> Any:
        yield {"n": await maybe_deferred_to_future(succeed(1))}
        yield {"n": await succeed(2)}


class ReturnsADeferred(SiteSpider):
    def parse(self, response: Any) -> Any:
        return succeed([{"n": 1}, response.follow("/a", self.page)])


class Together(SiteSpider):
    async def parse(self, response: Any) -> Any:
        task = asyncio.create_task(self.word(response, "task"))
        found = await asyncio.gather(*(self.word(response, word) for word in ("ant", "bee")))
        found.append(await asyncio.to_thread(str.upper, found[0]))
        found.append(await asyncio.wait_for(task, 20))
        for word in found:
            yield {"word": word}

    async def word(self, response: Any, word: str) -> str:
        await asyncio.sleep(0)
        return f"{word} of {response.url}"


class CoroutineOfGenerators(SiteSpider):
    """Its coroutines return generators of both kinds, and another coroutine."""

    async def parse(self, response: Any) -> Any:
        return self.inner(response)

    async def inner(self, response: Any) -> Any:
        yield {"n": 1}
        yield response.follow("/a", self.plain)
        yield response.follow("/b", self.coroutine)

    async def plain(self, response: Any) -> Any:
        return (one for one in ({"n": 2}, {"n": 3}))

    async def coroutine(self, response: Any) -> Any:
        return self.last(response)

    async def last(self, response: Any) -> Any:
        return {"n": 4}


class NotAsync(SiteSpider):
    """Is no coroutine itself, and returns what one does."""

    def parse(self, response: Any) -> Any:
        return self.later(response)

    async def later(self, response: Any) -> Any:
        return [response.follow("/a", self.page), response.follow("/b", self.another)]

    def another(self, response: Any) -> Any:
        return self.generator(response)

    async def generator(self, response: Any) -> Any:
        yield {"n": 1}


class FailsAtItsEnd(SiteSpider):
    def parse(self, response: Any) -> Any:
        try:
            yield {"n": 1}
        finally:
            raise ValueError("at the end")


# What it returns


class Collections(SiteSpider):
    def parse(self, response: Any) -> Any:
        for path in ("deque", "map", "chain", "set", "values", "text", "number", "item", "empty"):
            yield response.follow(f"/a?{path}", self.page)

    def page(self, response: Any) -> Any:
        n = {"n": 1}
        return {
            "deque": deque([n]),
            "map": map(dict, ["ab", "cd"][:0]),
            "chain": chain([n], [{"n": 2}]),
            "set": {"a text"},
            "values": {"a": n}.values(),
            "text": "all of it",
            "number": 7,
            "item": Item(title="one"),
            "empty": {},
        }[response.url.partition("?")[2]]


class OneRequestAgain(SiteSpider):
    """Fills the same request for all of its results."""

    def parse(self, response: Any) -> Any:
        request = response.follow("/a", self.page, dont_filter=True)
        for n in range(3):
            request.meta["n"] = n
            yield request.replace()
        yield Request(f"{SITE}/b", self.page, meta={"n": 3})

    def page(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url, "of": response.meta["n"]}


class ItemInItself(SiteSpider):
    def parse(self, response: Any) -> Any:
        item = Item(title="self", parts=[])
        item["parts"].append({"title": item["title"], "all": item["parts"]})
        yield item


class Loaded(scrapy.Item):
    title = scrapy.Field(input_processor=MapCompose(str.strip, str.upper))
    links = scrapy.Field(output_processor=len)


class Loads(SiteSpider):
    def parse(self, response: Any) -> Any:
        loader: Any = ItemLoader(Loaded(), response=response)
        loader.default_output_processor = TakeFirst()
        loader.add_css("title", "title::text")
        loader.nested_css("a").add_xpath("links", "@href")
        loader.add_xpath("links", "//a/@href")
        yield loader.load_item()


class AsDict(SiteSpider):
    """Has requests as dicts, as queues of others do."""

    def parse(self, response: Any) -> Any:
        request = response.follow("/a", self.page, errback=self.failed, meta={"n": 1})
        found = request.to_dict(spider=self)
        yield {"found": found}
        yield request_from_dict(found, spider=self)


class Followed(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow(response.css("a")[0], self.page)
        yield response.follow(Link(f"{SITE}/b#part", text="b"), self.page)
        for link in LinkExtractor(allow="/c$").extract_links(response):
            yield Request(link.url, self.page, meta={"link": link})
        yield Request.from_curl(f"curl '{SITE}/d' -H 'X-A: 1' -d 'a=1'", callback=self.page)
        yield XmlRpcRequest(f"{SITE}/e", params=(1, "two"), methodname="find", callback=self.page)
        yield from response.follow_all(xpath="//a", callback=self.page, cb_kwargs={})

    def page(self, response: Any) -> Iterator[Any]:
        link = response.meta.get("link")
        sent = (response.request.method, len(response.request.body))
        yield {"url": response.url, "link": link and link.text, "sent": sent}


# What it raises


class Raises(SiteSpider):
    """Raises of all kinds."""

    kinds = ("from", "stop", "within", "none", "local", "timeout", "unicode")

    def parse(self, response: Any) -> Any:
        for kind in self.kinds:
            yield response.follow(f"/a?{kind}", self.page)

    def page(self, response: Any) -> Any:
        kind = response.url.partition("?")[2]
        yield {"kind": kind}
        if kind == "from":
            raise ValueError("outer") from KeyError("inner")
        if kind == "stop":
            next(iter(()))
        if kind == "within":
            self.within()
        if kind == "none":
            raise NotImplementedError
        if kind == "local":
            raise type("Local", (LookupError,), {"__module__": __name__})("made here")
        if kind == "timeout":
            raise asyncio.TimeoutError
        raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "no ascii")

    def within(self) -> None:
        try:
            raise KeyError("first")
        finally:
            raise ValueError("second")


CASES = [
    case("callback_names", Names, 5, 4),
    case("callback_awaits_deferreds", DeferredCoroutine, 2, 1),
    case("callback_generator_awaits_deferreds", DeferredGenerator, 2, 1, alike=True),
    case("callback_returns_a_deferred", ReturnsADeferred, 2, 2, alike=True),
    case("callback_awaits_several", Together, 4, 1, excluded=NEEDS_ASYNCIO, alike=True),
    case("callback_coroutine_of_generators", CoroutineOfGenerators, 4, 3),
    case("callback_returns_a_coroutine", NotAsync, 2, 3),
    case("callback_cleans_up", Cleaning, 450, 1, alike=True),
    case("callback_fails_at_its_end", FailsAtItsEnd, 1, 1, alike=True),
    case("callback_collections", Collections, 9, 10, feed_lines=6),
    case("callback_one_request_again", OneRequestAgain, 4, 5),
    case(
        "callback_item_in_itself",
        ItemInItself,
        1,
        1,
        feed_lines=0,
        not_compared={"logs": "an id is in there"},
        alike=True,
    ),
    case("callback_loads", Loads, 1, 1, alike=True),
    case("callback_requests_as_dicts", AsDict, 2, 2, feed_lines=1, alike=True),
    case("callback_follows", Followed, 5, 6),
    case("callback_raises", Raises, 7, 8),
    case(
        "middleware_looks_at_what_is_raised",
        Raises,
        7,
        8,
        spider_middlewares={LookAtCause: 10},
        alike=True,
    ),
]
