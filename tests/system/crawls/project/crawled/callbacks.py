"""Spiders whose callbacks run in workers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals
from scrapy.exceptions import DropItem

from scrapy_mpworkers import in_worker

from .signs import gate_is_open, pause, tell, wait_at_gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response


def once(word: str) -> bool:
    """Return whether nobody in this crawl has asked for this word before."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(f"{os.environ['CRAWL_GATE']}.{word}", os.O_CREAT | os.O_EXCL))
        return True
    return False


class Deeds:
    """What may befall a worker."""

    @staticmethod
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def segfault() -> None:
        ctypes.string_at(0)

    @staticmethod
    def grow() -> None:
        tell("grows", os.getpid())
        wait_at_gate()
        kept = []
        while True:
            kept.append(b"x" * (10 << 20))

    @staticmethod
    def hang() -> None:
        while True:
            time.sleep(1)


class Counting(scrapy.Spider):
    """Yields numbers from one response, and does something at one of them.

    Arguments are texts: how many numbers, at which of them, what, and whether each time.
    """

    name = "counting"
    count, at, deed, always = "10", "", "kill", ""
    pages = "1"
    order = ""

    async def start(self) -> AsyncIterator[Any]:
        tell("parent", os.getpid())
        for page in range(int(self.pages)):
            yield scrapy.Request(f"data:text/plain,{page}", self.numbers, dont_filter=True)

    @in_worker
    def numbers(self, response: Response) -> Iterator[Any]:
        first = int(response.text) * int(self.count)
        for place, n in enumerate(self.in_order(first), first):
            if self.at == str(place) and (self.always or once("deed")):
                getattr(Deeds, self.deed)()
            self.crawler.stats.inc_value("counted")
            yield {"n": n}
        tell("ran_in", os.getpid())
        if self.at == "end" and once("deed"):
            getattr(Deeds, self.deed)()

    def in_order(self, first: int) -> Iterator[int]:
        numbers = list(range(first, first + int(self.count)))
        if self.order == "set":
            numbers = [int(word) for word in {str(number) for number in numbers}]
        elif self.order == "random":
            random.shuffle(numbers)
        return iter(numbers)


class Unmarked(scrapy.Spider):
    """Pages whose callbacks wait at the gate, in workers only where the setting names them."""

    name = "unmarked"
    pages = "100"
    seconds = ""

    async def start(self) -> AsyncIterator[Any]:
        for page in range(int(self.pages)):
            yield scrapy.Request(f"data:text/plain,{page}")

    def parse(self, response: Response) -> Iterator[Any]:
        tell("busy", int(response.text))
        if self.seconds:
            time.sleep(float(self.seconds))
        else:
            wait_at_gate()
        yield {"n": int(response.text)}


class Held(Unmarked):
    name = "held"

    @in_worker
    def parse(self, response: Response) -> Iterator[Any]:
        yield from super().parse(response)


class Torn(scrapy.Spider):
    """Yields 210 numbers in two parts, and waits at the gate within the second one.

    ``other``: the page has them in the opposite order.
    """

    name = "torn"
    pages, other = "1", ""

    async def start(self) -> AsyncIterator[Any]:
        for page in range(int(self.pages)):
            yield scrapy.Request(f"data:text/plain,{page}")

    @in_worker
    def parse(self, response: Response) -> Iterator[Any]:
        for place in range(210):
            if place == 205:
                tell("torn")
                wait_at_gate()
            yield {"n": 209 - place if self.other else place}


class DropsOdd:
    """Drops every second item in Scrapy's process, and tells of it."""

    def process_item(self, item: Any) -> Any:
        if item["n"] % 2:
            tell("behind", item["n"])
            raise DropItem("odd")
        return item


class SlowGate:
    """Holds items in Scrapy's process, which goes on, until the test opens the gate."""

    async def process_item(self, item: Any) -> Any:
        tell("held", item["n"])
        while not gate_is_open():
            await pause(0.01)
        return item


class Replaced:
    """Gives another object instead of the item."""

    def process_item(self, item: Any) -> Any:
        return dict(item)


class Impatient:
    """A spider middleware that reads no more than three results of a response."""

    async def process_spider_output(self, response: Response, result: Any) -> AsyncIterator[Any]:
        count = 0
        async for one in result:
            yield one
            count += 1
            if count == 3:
                return


class Logs:
    """A pipeline that tells of items as they come."""

    def process_item(self, item: Any) -> Any:
        if item["n"] % 1000 == 0:
            tell("came", item["n"])
        return item


class Poisonous(scrapy.Spider):
    """The page in the middle kills its workers, until that is repaired."""

    name = "poisonous"

    async def start(self) -> AsyncIterator[Any]:
        for n in range(3):
            arguments = {"more": [100] if n == 1 else []}
            yield scrapy.Request(f"data:text/plain,{n}", self.poison, cb_kwargs=arguments)

    @in_worker
    def poison(self, response: Response, more: list[int]) -> Iterator[Any]:
        if response.text == "1" and "REPAIRED" not in os.environ:
            Deeds.kill()
        yield {"n": int(response.text)}
        yield from ({"n": n} for n in more)


class Browser:
    """Holds what cannot be sent anywhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def title(self, response: Response) -> str:
        with self._lock:
            return response.text


class Mixed(scrapy.Spider):
    """Of its callbacks one is fit for workers, and each other is not, for a reason of its own."""

    name = "mixed"

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> Mixed:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.seen = set()
        spider.browser = Browser()
        return spider

    async def start(self) -> AsyncIterator[Any]:
        for page in ("1", "2", "1"):
            yield scrapy.Request(f"data:text/plain,{page}", dont_filter=True)

    def parse(self, response: Response) -> Iterator[Any]:
        tell("parse", os.getpid())
        if response.text not in self.seen:
            self.seen.add(response.text)
            for callback in (self.heavy, self.by_browser, self.by_engine):
                yield response.request.replace(callback=callback)

    def heavy(self, response: Response) -> Any:
        tell("heavy", os.getpid())
        return {"n": int(response.text)}

    def by_browser(self, response: Response) -> Any:
        tell("by_browser", os.getpid())
        return {"n": 10 + int(self.browser.title(response))}

    def by_engine(self, response: Response) -> Any:
        tell("by_engine", os.getpid())
        assert self.crawler.engine.downloader.slots
        return {"n": 20 + int(response.text)}


class Endless(Counting):
    """Yields many items from one response, and tells what memory both processes have had."""

    name = "endless"

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> Any:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.item_scraped, signals.item_scraped)
        return spider

    def item_scraped(self, item: Any) -> None:
        if item["n"] % (int(self.count) // 10) == 0 and item["n"]:
            tell("parent", peak())

    @in_worker
    def numbers(self, response: Response) -> Iterator[Any]:
        for n in range(int(self.count)):
            if n % (int(self.count) // 10) == 0 and n:
                tell("worker", peak())
            yield {"n": n}


class Large(scrapy.Spider):
    """A large page, whose callback yields many requests, most of them for a page that is known."""

    name = "large"
    page = ""

    async def start(self) -> AsyncIterator[Any]:
        yield scrapy.Request(self.page)

    @in_worker
    def parse(self, response: Response) -> Iterator[Any]:
        yield {"n": len(response.body)}
        for n in range(10_000):
            yield scrapy.Request(f"data:text/plain,{n % 100}", self.nothing)

    @in_worker
    def nothing(self, response: Response) -> None: ...


def peak() -> int:
    """Return the most memory that this process has had, KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Listing(scrapy.Spider):
    """Pages whose callback begins at once, and has more results than a part."""

    name = "listing"

    async def start(self) -> AsyncIterator[Any]:
        for page in range(40):
            yield scrapy.Request(f"data:text/plain,{page}", dont_filter=True)

    @in_worker
    def parse(self, response: Response) -> list[Any]:
        return [{"n": n} for n in range(500)]


class Growing(scrapy.Spider):
    """Keeps what it has seen, which is too large to be sent behind the first page."""

    name = "growing"
    custom_settings = {"CONCURRENT_REQUESTS": 1}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words: dict[int, str] = {}

    async def start(self) -> AsyncIterator[Any]:
        for page in range(3):
            yield scrapy.Request(f"data:text/plain,{page}", self.fill, priority=-page)

    def fill(self, response: Response) -> Iterator[Any]:
        self.words.update((n, str(n) * 20) for n in range(len(self.words), len(self.words) + 1000))
        yield scrapy.Request(f"{response.url}+", self.count, priority=100)

    def count(self, response: Response) -> Iterator[Any]:
        yield {"n": len(self.words)}


class CountsWords:
    def process_item(self, item: dict[str, int], spider: Any) -> dict[str, int]:
        return {"n": item["n"] + len(spider.words)}


class Deaf:
    """A spider middleware that does not even begin to read the results of a response."""

    async def process_spider_output(self, response: Response, result: Any) -> AsyncIterator[Any]:
        return
        yield
