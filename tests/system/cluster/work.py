"""A spider and pipelines for crawls whose workers are in a cluster."""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import scrapy

from scrapy_mpworkers import WorkerExtension
from system.crawls.project.crawled.signs import tell

logger = logging.getLogger(__name__)


class Numbers(scrapy.Spider):
    """Numbers its items from 1, and tells what becomes of them."""

    name = "numbers"

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> Numbers:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.item_error, scrapy.signals.item_error)
        crawler.signals.connect(spider.item_scraped, scrapy.signals.item_scraped)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        if self.settings.getbool("CALLS"):
            await self.call()
        filling = {"filling": "x" * (self.settings.getint("MEGABYTES") << 20)}
        for n in range(1, self.settings.getint("ITEMS", 100) + 1):
            yield {"n": n, **(filling if filling["filling"] else {})}
            tell("yielded", n)

    async def call(self) -> None:
        """Call a closure, and one that takes too long."""
        workers = self.crawler.get_extension(WorkerExtension)
        assert workers is not None
        factor = 2
        product = await workers.run(lambda number: factor * number, 3)
        tell("stacks", await workers.stacks(timeout=20))
        try:
            await workers.run(time.sleep, 60, timeout=0.5)
        except TimeoutError as error:
            tell("called", product, type(error).__name__)

    def item_scraped(self, item: dict[str, Any]) -> None:
        tell("scraped", item["n"])

    def item_error(self, item: dict[str, Any], failure: Any) -> None:
        tell("failed", item["n"], type(failure.value).__name__)


def site_of(item: dict[str, Any]) -> int:
    """A key that some items share."""
    return item["n"] % 8


class Mark:
    """Says where it ran; takes ``SECONDS``."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.seconds = settings.getfloat("SECONDS", 0.0)

    @classmethod
    def from_crawler(cls, crawler: Any) -> Mark:
        return cls(crawler.settings)

    def open_spider(self) -> None:
        tell("opened", os.getpid())

    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(self.seconds)
        item["pid"] = os.getpid()
        return item

    def close_spider(self) -> None:
        tell("closed", os.getpid())


class Gated(Mark):
    """Says which item it holds, until the test lets go of the lock on the file ``GATE``."""

    def process_item(self, item: dict[str, Any]) -> Any:
        with open(self.settings["GATE"]) as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("held", item["n"])
                fcntl.flock(gate, fcntl.LOCK_SH)
        return super().process_item(item)


class Poisoned(Mark):
    """The item ``POISON`` kills its worker."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == self.settings.getint("POISON"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process_item(item)


class Hangs(Mark):
    """The item ``POISON`` never ends."""

    def process_item(self, item: dict[str, Any]) -> Any:
        while item["n"] == self.settings.getint("POISON"):
            self.wait()
        return super().process_item(item)

    def wait(self) -> None:
        time.sleep(0.01)


class HangsInC(Hangs):
    """And lets no other thread run."""

    def wait(self) -> None:
        ctypes.PyDLL(None).pause()


class Logs(Mark):
    """Logs of each item."""

    def process_item(self, item: dict[str, Any]) -> Any:
        logger.info("Here is item %d", item["n"])
        logger.debug("nobody wants this")
        return super().process_item(item)


class Counts(Mark):
    """Says how many are at work in this process at once."""

    at_once: list[int] = []
    lock = threading.Lock()

    def process_item(self, item: dict[str, Any]) -> Any:
        with self.lock:
            self.at_once.append(item["n"])
            item["at_once"] = len(self.at_once)
        item = super().process_item(item)
        self.at_once.remove(item["n"])
        return item


class CountsToo(Counts):
    """The same, for another level."""


class Measures(Mark):
    """Replaces what is large by its length."""

    def process_item(self, item: dict[str, Any]) -> Any:
        item["length"] = len(item.pop("filling"))
        return item


class CannotOpen(Mark):
    """Nor can its worker be used."""

    def open_spider(self) -> None:
        raise ValueError("no database")


class Adds(Mark):
    """Says where it ran beside what ran before it."""

    def process_item(self, item: dict[str, Any]) -> Any:
        item["adder"] = os.getpid()
        return item
