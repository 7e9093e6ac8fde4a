"""Items whose code would end Scrapy's process, in every place where it runs there."""

from __future__ import annotations

import asyncio
import builtins
import multiprocessing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itemadapter import ItemAdapter

from .signs import tell
from .spiders import TellingSpider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response
    from twisted.python.failure import Failure


def in_scrapy() -> bool:
    return multiprocessing.parent_process() is None


class Quits(BaseException):
    """One of the user's own."""


def key(item: Any) -> Any:
    """The key function of the level."""
    name = ItemAdapter(item).get("end")
    if name is None:
        return 1
    own = {"CancelledError": asyncio.CancelledError, "Quits": Quits}
    raise own.get(name) or getattr(builtins, name)(3)


@dataclass
class Opaque:
    n: int

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise SystemExit("no look")
        return super().__getattribute__(name)


@dataclass
class Unpickled:
    n: int

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise Unspeakable


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise SystemExit("no words")


def end() -> None:
    if in_scrapy():
        raise SystemExit("loaded")


class EndsWhenLoaded:
    def __reduce__(self) -> Any:
        return end, ()


class EndsWhenRebuilt(Exception):
    def __new__(cls, *arguments: Any) -> Any:
        end()
        return super().__new__(cls, *arguments)


class EndsWhenRead(Exception):
    def __str__(self) -> str:
        raise SystemExit("read")


class EqualKey(str):
    """A name of a field."""

    def __hash__(self) -> int:
        end()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


class Does:
    """Does with an item what it says."""

    def process_item(self, item: Any) -> Any:
        does = ItemAdapter(item).get("does")
        if does == "returns":
            item["back"] = EndsWhenLoaded()
        if does == "names":
            item[EqualKey("new")] = 1
        if does == "raises":
            raise EndsWhenRebuilt("no luck")
        if does == "mutters":
            raise EndsWhenRead
        return item


class EndersSpider(TellingSpider):
    name = "enders"

    def parse(self, response: Response) -> Iterator[Any]:
        for name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "Quits"):
            yield self.make(end=name)
        yield self.make(end="ValueError")
        for does in ("returns", "names", "raises", "mutters"):
            yield self.make(does=does)
        for cls in (Opaque, Unpickled):
            yield cls(self.make()["n"])
        yield self.make()

    async def item_scraped(self, item: Any) -> None:
        tell("scraped", item["n"])

    def item_error(self, item: Any, failure: Failure) -> None:
        try:
            text = str(failure.value)
        except SystemExit:
            text = "mute"
        tell("failed", item["n"] if isinstance(item, dict) else item.n, failure.type.__name__, text)
