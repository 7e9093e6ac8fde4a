"""Every way to write a pipeline."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from scrapy import Spider
from scrapy.exceptions import DropItem
from twisted.internet.defer import Deferred, succeed

from ..case import Case, Expected
from .kinds import TEN
from .spiders import WordSpider

NEEDS_ASYNCIO = {"default": "the pipeline awaits asyncio, and this reactor does not run it"}


class TakesSpider:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["by"] = spider.name
        return item


class TakesItemOnly:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["second"] = True
        return item


class SpiderIsOptional:
    """Scrapy passes the spider only where it is required."""

    def process_item(self, item: dict[str, Any], spider: Spider | None = None) -> dict[str, Any]:
        item["given"] = spider is not None
        return item


class Async:
    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["async"] = True
        return item


class AsyncWithSpider:
    async def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["by"] = await self.name_of(spider)
        return item

    async def name_of(self, spider: Spider) -> str:
        return spider.name


class AsyncAwaiting:
    """Awaits the loop, a thread and several things at once."""

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        upper = asyncio.to_thread(item["word"].upper)
        item["upper"], item["title"] = await asyncio.gather(upper, self.title(item))
        return item

    async def title(self, item: dict[str, Any]) -> str:
        await asyncio.sleep(0.001)
        return item["word"].title()


class AsyncAwaitingThread:
    """Awaits nothing but a thread of the loop's executor, which keeps its threads for later."""

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["upper"] = await asyncio.to_thread(self.work, item["word"])
        return item

    def work(self, word: str) -> str:
        time.sleep(0.01)  # long enough for the loop to have nothing else left to wait for
        return word.upper()


class FiredDeferred:
    """Twisted's way, which Scrapy has deprecated but still takes."""

    def process_item(self, item: dict[str, Any]) -> Deferred[dict[str, Any]]:
        return succeed(item | {"deferred": True})


def only_even(process_item: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator of many projects: process some items, let the others through."""

    @functools.wraps(process_item)
    def wrapper(self: Any, item: dict[str, Any], spider: Spider) -> Any:
        return item if item["n"] % 2 else process_item(self, item, spider)

    return wrapper


def counted(process_item: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without ``wraps``, for any signature."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        args[1]["counted"] = args[1].get("counted", 0) + 1
        return process_item(*args, **kwargs)

    return wrapper


class Decorated:
    @only_even
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["even"] = spider.name
        return item


class DecoratedTwice:
    @counted
    @counted
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["after"] = item["counted"]
        return item


class Static:
    @staticmethod
    def process_item(item: dict[str, Any]) -> dict[str, Any]:
        item["static"] = True
        return item


class OnInstance:
    """Makes its method, which no pickle could take, where it runs."""

    def __init__(self) -> None:
        self.process_item = lambda item: item.update(made="on the instance") or item


class Base:
    field = "base"

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item[self.field] = True
        return item


class Derived(Base):
    __slots__ = ("calls",)
    field = "derived"

    def __init__(self) -> None:
        self.calls = 0

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        return super().process_item(item)


class OnlyOpens:
    """Has no ``process_item`` at all."""

    def open_spider(self) -> None:
        self.opened = True


def shout(item: dict[str, Any]) -> dict[str, Any]:
    item["word"] = item["word"].upper()
    return item


def drop_long(item: dict[str, Any]) -> dict[str, Any]:
    if len(item["word"]) > 4:
        raise DropItem(f"{item['word']} is long")
    return item


CASES = [
    Case("process_item_with_spider", WordSpider, {TakesSpider: 300}, TEN),
    Case(
        "process_item_with_and_without_spider",
        WordSpider,
        {TakesSpider: 300, TakesItemOnly: 400, SpiderIsOptional: 500},
        TEN,
    ),
    Case("process_item_async", WordSpider, {Async: 300, AsyncWithSpider: 400}, TEN),
    Case(
        "process_item_async_awaiting_asyncio",
        WordSpider,
        {TakesItemOnly: 200, AsyncAwaiting: 300, Async: 400},
        TEN,
        excluded=NEEDS_ASYNCIO,
    ),
    Case(
        "process_item_async_awaiting_a_thread",
        WordSpider,
        {AsyncAwaitingThread: 300},
        TEN,
        excluded=NEEDS_ASYNCIO,
    ),
    Case("process_item_returning_a_deferred", WordSpider, {FiredDeferred: 300}, TEN),
    Case("process_item_decorated", WordSpider, {Decorated: 300, DecoratedTwice: 400}, TEN),
    Case("process_item_static", WordSpider, {Static: 300, OnInstance: 400}, TEN),
    Case("pipeline_that_inherits", WordSpider, {Derived: 300, Base: 400}, TEN),
    Case("pipeline_without_process_item", WordSpider, {OnlyOpens: 300, Base: 400}, TEN),
    Case("plain_function", WordSpider, {shout: 300}, TEN),
    Case(
        "plain_functions_by_path_and_a_pipeline",
        WordSpider,
        {f"{__name__}.drop_long": 200, f"{__name__}.shout": 300, f"{__name__}.Base": 400},
        Expected(scraped=5, dropped=5),
    ),
]
