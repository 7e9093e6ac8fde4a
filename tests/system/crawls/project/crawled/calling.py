"""Spiders, a middleware and a pipeline that call functions in workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from twisted.internet.defer import CancelledError

from scrapy_mpworkers import WorkerExtension

from .signs import pause, tell, wait_at_gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response


def extension_of(crawler: Any) -> Any:
    return crawler.get_extension(WorkerExtension)


def where(_: Any = None) -> int:
    return os.getpid()


def square(number: int) -> int:
    return number * number


def fails_with_seven(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


def hold(number: int) -> int:
    Path(f"{os.environ['CRAWL_GATE']}.{number}").touch()
    tell("busy", number)
    wait_at_gate()
    return number


def kill_once(folder: str, every: int, number: int) -> int:
    """Dies of some of the numbers, the first time."""
    if number % every == 0:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{folder}/died{number}", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
    return number


async def square_later(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * number


class Doubler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int, add: int = 0) -> int:
        return number * self.factor + add


class CallingSpider(scrapy.Spider):
    """Calls this method of its own in its callback, and tells what came of it."""

    name = "calling"
    does = "kinds"
    calls = 500
    start_urls = ("data:text/plain,<a page>",)

    async def start(self) -> AsyncIterator[Any]:
        for url in self.start_urls:
            yield scrapy.Request(url, dont_filter=True)

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        tell("parent", os.getpid())
        self.extension = extension_of(self.crawler)
        await getattr(self, self.does)(response)
        yield {"n": 1}

    def read(self, response: Response) -> str:
        return f"{self.name} {response.text}"

    async def kinds(self, response: Response) -> None:
        run = self.extension.run
        base = 40
        tell("function", await run(square, 3))
        tell("lambda", await run(lambda number: number + 1, 3))
        tell("closure", await run(lambda: base + 2))
        tell("bound", await run(Doubler(3).times, 5, add=1))
        tell("of_the_spider", await run(self.read, response))
        tell("coroutine", await run(square_later, 4))
        tell("same_response", await run(lambda it: {"it": it}, response) == {"it": response})
        tell("where", await run(where))
        with contextlib.suppress(ZeroDivisionError):
            await run(lambda: 1 // 0)
            tell("not_raised")
        try:
            await run(square, threading.Lock())
        except Exception as error:
            tell("refused", type(error).__name__, str(error))

    async def timeout(self, response: Response) -> None:
        try:
            await self.extension.run(time.sleep, 60, timeout=0.2)
        except TimeoutError as error:
            tell("late", type(error).__name__, str(error))
        tell("after", await self.extension.run(square, 5, timeout=60))

    async def stacks(self, response: Response) -> None:
        """Asks the workers where they are, while one of them is held."""
        held = deferred_from_coro(self.extension.run(hold, 1))
        while not Path(f"{os.environ['CRAWL_GATE']}.1").exists():
            await pause(0.01)
        tell("stacks", await self.extension.stacks(timeout=20))
        await maybe_deferred_to_future(held)

    async def nothing(self, response: Response) -> None:
        """Calls nothing."""

    async def wrong(self, response: Response) -> None:
        for call in (
            lambda: self.extension.run(square, 3, timeout=0),
            lambda: anext(self.extension.map(square, [1, 2], limit=-1)),
        ):
            try:
                await call()
            except ValueError as error:
                tell("wrong", str(error))

    async def mapped(self, response: Response) -> None:
        tell("squares", [it async for it in self.extension.map(square, range(50), limit=5)])
        got: list[int] = []
        try:
            async for number in self.extension.map(fails_with_seven, iter(range(100))):
                got.append(number)
        except ValueError as error:
            tell("mapped_until", got[-1], str(error))

    async def killed(self, response: Response) -> None:
        folder = os.path.dirname(os.environ["CRAWL_GATE"])
        numbers = range(1, int(self.calls) + 1)
        every = len(numbers) // 10
        results = self.extension.map(lambda n: kill_once(folder, every, n), numbers, limit=50)
        tell("results", [number async for number in results] == list(numbers))

    async def cancelled(self, response: Response) -> None:
        """With room for one call, a cancelled one lets the next in."""
        first = deferred_from_coro(self.extension.run(hold, 1))
        await self._until_busy()
        second = deferred_from_coro(self.extension.run(hold, 2))
        first.cancel()
        with contextlib.suppress(CancelledError, asyncio.CancelledError):
            await maybe_deferred_to_future(first)
        tell("cancelled")
        tell("second", await maybe_deferred_to_future(second))

    async def _until_busy(self) -> None:
        while not Path(f"{os.environ['CRAWL_GATE']}.1").exists():
            await pause(0.01)  # a worker's file tells this process nothing


class CallsWhenClosed:
    """Calls when the workers have stopped, and stops the crawl that closes already."""

    def __init__(self, crawler: Any) -> None:
        self._crawler = crawler
        crawler.signals.connect(self.spider_closed, scrapy.signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Any) -> CallsWhenClosed:
        return cls(crawler)

    async def spider_closed(self) -> None:
        extension = extension_of(self._crawler)
        await extension.stop()
        try:
            await extension.run(square, 3)
        except Exception as error:
            tell("too_late", type(error).__name__)
        await self._crawler.stop_async()
        tell("stopped")


class CallsInMiddleware:
    """A spider middleware that has its results made in a worker."""

    def __init__(self, crawler: Any) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Any) -> CallsInMiddleware:
        return cls(crawler)

    async def process_spider_output(self, response: Any, result: Any) -> Any:
        async for it in result:
            if isinstance(it, dict):
                it["middleware"] = await extension_of(self._crawler).run(where)
            yield it


class CallsInPipeline:
    def __init__(self, crawler: Any) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Any) -> CallsInPipeline:
        return cls(crawler)

    async def process_item(self, item: Any) -> Any:
        item["pipeline"] = await extension_of(self._crawler).run(where)
        return item
