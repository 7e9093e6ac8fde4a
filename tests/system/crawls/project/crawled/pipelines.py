"""Pipelines that run in workers: one that behaves, and a saboteur for each way to break."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import CloseSpider
from scrapy.pipelines.files import FilesPipeline
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from .signs import pause, tell, wait_at_gate

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class Mark:
    """Behaves; leaves in each item the process that it ran in."""

    def open_spider(self) -> None:
        tell("opened", os.getpid())

    def process_item(self, item: dict[str, Any]) -> Any:
        item["pid"] = os.getpid()
        return item

    def close_spider(self) -> None:
        tell("closed", os.getpid())


class Gate(Mark):
    """Holds each item until the test opens the gate."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("busy", item["n"], os.getpid())
        wait_at_gate()
        return super().process_item(item)


class HearsWhy(Gate):
    """Tells the reason for which the spider closes."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> HearsWhy:
        pipeline = cls()
        crawler.signals.connect(pipeline.hear, signals.spider_closed)
        return pipeline

    def hear(self, reason: str) -> None:
        tell("why", reason)


class Stuck(Mark):
    """Never comes back from C code and keeps the GIL: no thread and no signal handler runs."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("busy", item["n"], os.getpid())
        while True:
            ctypes.PyDLL(None).pause()


class Stuck7(Mark):
    """Is stuck, as Stuck is, with the seventh item only."""

    def process_item(self, item: dict[str, Any]) -> Any:
        while item["n"] == 7:
            ctypes.PyDLL(None).pause()
        return super().process_item(item)


class Hangs(Mark):
    """Awaits what never comes with the fourth item, and keeps the GIL with the seventh."""

    async def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 4:
            await self.never()
        while item["n"] == 7:
            ctypes.PyDLL(None).pause()
        return super().process_item(item)

    async def never(self) -> None:
        await asyncio.sleep(1000)


class Collects(Mark):
    """Holds its items until it is closed."""

    def open_spider(self) -> None:
        super().open_spider()
        self.rows: list[Any] = []

    def process_item(self, item: dict[str, Any]) -> Any:
        self.rows.append(item["n"])
        return super().process_item(item)

    def close_spider(self) -> None:
        tell("collected", *self.rows)
        super().close_spider()


class Slow(Mark):
    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(0.3)
        return super().process_item(item)


class Tells:
    """Tells of each item when it begins and when it has ended, 2 ms later."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("busy", item["n"])
        time.sleep(0.002)
        tell("processed", item["n"])
        return item


class Slowly:
    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(0.002)
        return None


class ReturnsLambdas(Mark):
    """Puts a lambda into each of the first hundred items."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] <= 100:
            item["price"] = lambda: 42
        return super().process_item(item)


class DiesOnceOpenedTwice(Mark):
    """Opens in the first workers, which die at their first item; never opens again."""

    def open_spider(self) -> None:
        marks = os.path.dirname(os.environ["CRAWL_GATE"])
        for n in range(2):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(f"{marks}/opened{n}", os.O_CREAT | os.O_EXCL))
                return
        os._exit(5)

    def process_item(self, item: dict[str, Any]) -> Any:
        os._exit(6)


class Exits(Mark):
    """Ends the process, as some native code does, with every item."""

    def process_item(self, item: dict[str, Any]) -> Any:
        os._exit(3)


class Poisoned(Mark):
    """Kills its process at the thirteenth item, each time."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process_item(item)


class ReturnsDeadDeferred(Mark):
    def process_item(self, item: dict[str, Any]) -> Any:
        return Deferred() if item["n"] == 3 else super().process_item(item)


class AwaitsDeadDeferred(Mark):
    async def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 3:
            await maybe_deferred_to_future(Deferred())
        return super().process_item(item)


class HoldsThird(Mark):
    """Awaits, with the third item only, what never comes: a timer that is an hour away."""

    async def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 3:
            await pause(3600)
        return super().process_item(item)


class UsesEngine(Mark):
    """Reaches for the engine's parts that no worker has."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> UsesEngine:
        return cls(crawler)

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 1:
            self.crawler.engine.download("data:,")
        if item["n"] == 2:
            self.crawler.engine.crawl("data:,")
        return super().process_item(item)


class Unpacks(Mark):
    """Uses what a luggage item carries."""

    def process_item(self, item: dict[str, Any]) -> Any:
        item["heading"] = item["response"].css("title::text").get()
        item["by"] = item["spider"].name
        item["loud"] = item["title"].upper()
        tell("unpacked", item["heading"], item["by"], item["loud"])
        return super().process_item(item)


class RaisesInFromCrawler(Mark):
    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RaisesInFromCrawler:
        raise RuntimeError("no from_crawler today")


class RaisesInOpen(Mark):
    def open_spider(self) -> None:
        raise RuntimeError("no open_spider today")


class ClosesInOpen(Mark):
    def open_spider(self) -> None:
        raise CloseSpider("no_disk")


class ClosesWhenOpened(Mark):
    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ClosesWhenOpened:
        pipeline = cls()
        crawler.signals.connect(pipeline.spider_opened, signals.spider_opened)
        return pipeline

    def spider_opened(self) -> None:
        raise CloseSpider("no_disk")


class Files(FilesPipeline):
    pass
