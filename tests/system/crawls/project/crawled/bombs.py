"""Items and pipelines that break in every phase of an item's way, in every manner."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
from itertools import product
from typing import TYPE_CHECKING, Any

from .pipelines import Mark
from .signs import tell
from .spiders import TellingSpider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler

CRASHES = ("segfault", "exit_0", "exit_3", "sigkill")
ERRORS = ("error", "system_exit", "keyboard_interrupt")
#: Where code of the user runs, in the order of an item's way. The first and the last are in
#: Scrapy's own process, where nothing can save the crawl from a crash.
PHASES = ("submit", "unpickle", "function", "result", "destructor", "outcome")
IN_PARENT = ("submit", "outcome")


def blow_up(way: str) -> None:
    match way:
        case "segfault":
            ctypes.string_at(0)
        case "exit_0":
            os._exit(0)
        case "exit_3":
            os._exit(3)
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            raise ValueError("broken as ordered")
        case "system_exit":
            sys.exit(3)
        case "keyboard_interrupt":
            raise KeyboardInterrupt


def is_worker() -> bool:
    return multiprocessing.parent_process() is not None


class Bomb:
    """A value that goes off in one phase."""

    def __init__(self, phase: str, way: str) -> None:
        self.phase, self.way = phase, way

    def __reduce__(self) -> Any:
        if self.phase == ("result" if is_worker() else "submit"):
            blow_up(self.way)
        return arrive, (self.phase, self.way)

    def __del__(self) -> None:
        if self.phase == "destructor" and is_worker():
            blow_up(self.way)


def arrive(phase: str, way: str) -> Bomb:
    if phase == ("unpickle" if is_worker() else "outcome"):
        blow_up(way)
    return Bomb(phase, way)


class Explodes(Mark):
    """Handles bombs as their phase wants it; leaves none in an item that gets through."""

    def __init__(self) -> None:
        self.kept: list[Bomb] = []

    def process_item(self, item: dict[str, Any]) -> Any:
        bomb = item.pop("bomb", None)
        if bomb is None:
            return super().process_item(item)
        if bomb.phase == "function":
            blow_up(bomb.way)
        elif bomb.phase == "destructor":
            # Let go of when this item has long been settled, and no other is being processed.
            self.kept.append(bomb)
            asyncio.get_running_loop().call_later(0.01, self.kept.clear)
        else:
            item["bomb"] = bomb  # goes off on its way back
        return super().process_item(item)


class BombsSpider(TellingSpider):
    """A bomb of each kind, among good items."""

    name = "bombs"
    good = 25

    async def start(self) -> AsyncIterator[Any]:
        for phase, way in product(PHASES, (*CRASHES, *ERRORS)):
            if way in ERRORS or phase not in IN_PARENT:
                item = self.make(bomb=Bomb(phase, way))
                tell("bomb", item["n"], phase, way)
                yield item
        for _ in range(int(self.good)):
            yield self.make()


class BreaksInOpen(Mark):
    """Goes off when it is opened, in the way that the settings tell."""

    def __init__(self, way: str) -> None:
        self.way = way

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> BreaksInOpen:
        return cls(crawler.settings["WAY"])

    def open_spider(self) -> None:
        blow_up(self.way)


class BreaksInClose(BreaksInOpen):
    def open_spider(self) -> None:
        Mark.open_spider(self)

    def close_spider(self) -> None:
        blow_up(self.way)
