"""One object yielded again and again, and changed between yields.

What inline makes of it depends on how far the loop runs between two yields: a callback that never
waits may have made its last change before the first item reaches a pipeline, and then all items
are the last one. Whatever it is, offloaded has to be the same, and never a mixture of two items.
The pipelines here give the same result for the same input however often they have seen an object:
for those that do not, inline depends on the order in which items take turns.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from scrapy import Request
from scrapy.exceptions import DropItem
from scrapy.http import Response

from ..case import Case, Expected
from .kinds import RichWordItem
from .spiders import PAGE, WORDS, WordSpider, turns_of_the_loop

SIX = range(6)


class ReuseSpider(WordSpider):
    """Yields one object six times from a callback that does not wait."""

    async def start(self) -> AsyncIterator[Any]:
        yield Request(PAGE, self.parse)

    def parse(self, response: Response) -> Iterator[Any]:
        item = self.blank()
        for n in SIX:
            self.change(item, n)
            yield item

    def blank(self) -> Any:
        return {}

    def change(self, item: Any, n: int) -> None:
        item["n"] = n
        item["word"] = WORDS[n]


class AsyncReuseSpider(ReuseSpider):
    """Waits between yields: inline an item is through by then, in a worker it is on its way."""

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        item = self.blank()
        for n in SIX:
            self.change(item, n)
            yield item
            await turns_of_the_loop()


class StartReuseSpider(ReuseSpider):
    async def start(self) -> AsyncIterator[Any]:
        item = self.blank()
        for n in SIX:
            self.change(item, n)
            yield item
            await turns_of_the_loop()


class CleanedReuse(AsyncReuseSpider):
    """Empties its dict between yields."""

    def change(self, item: Any, n: int) -> None:
        item.clear()
        super().change(item, n)


class ReusedItem(ReuseSpider):
    def blank(self) -> Any:
        return RichWordItem()


class AsyncReusedItem(AsyncReuseSpider):
    def blank(self) -> Any:
        return RichWordItem()


@dataclass
class Counted:
    n: int = 0
    seen: list[int] = field(default_factory=list)
    length: int | None = None


class AsyncReusedDataclass(AsyncReuseSpider):
    """Grows a list inside of the one object."""

    def blank(self) -> Any:
        return Counted()

    def change(self, item: Any, n: int) -> None:
        item.n = n
        item.seen = [*item.seen, n]


class ReusedList(ReuseSpider):
    """Yields a bare list, which Scrapy takes for an item like any other object."""

    def blank(self) -> Any:
        return []

    def change(self, item: Any, n: int) -> None:
        item.append(n)


class AsyncReusedList(AsyncReuseSpider):
    blank = ReusedList.blank
    change = ReusedList.change


class SharedListSpider(AsyncReuseSpider):
    """New items that share a growing list with the spider and with each other."""

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        shared: list[int] = []
        for n in SIX:
            shared.append(n)
            yield {"n": n, "word": WORDS[n], "seen": shared}
            await turns_of_the_loop()


class SharedListAtOnceSpider(ReuseSpider):
    def parse(self, response: Response) -> Iterator[Any]:
        shared: list[int] = []
        for n in SIX:
            shared.append(n)
            yield {"n": n, "word": WORDS[n], "seen": shared}


class SpoilsAfterwards(AsyncReuseSpider):
    """Keeps its hands on items that it has yielded."""

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        for n in SIX:
            item = {"n": n, "word": WORDS[n]}
            yield item
            await turns_of_the_loop()
            item["n"] = "spoiled"
            item["late"] = True


def stay_away() -> None:
    """The spiders change an item after some turns of their loop: it must not be back before."""
    time.sleep(0.02)


class Describe:
    def process_item(self, item: Any) -> Any:
        stay_away()
        item["length"] = len(item["word"])
        return item


class DescribeShared:
    def process_item(self, item: Any) -> Any:
        stay_away()
        item["count"] = len(item["seen"])
        return item


class DescribeData:
    def process_item(self, item: Counted) -> Counted:
        stay_away()
        item.length = len(item.seen)
        return item


class Sum:
    def process_item(self, item: list[int]) -> dict[str, Any]:
        stay_away()
        return {"values": list(item), "sum": sum(item)}


class LoseSome:
    def process_item(self, item: Any) -> Any:
        stay_away()
        item["length"] = len(item["word"])
        if item["n"] in (1, 3):
            raise DropItem(f"{item['n']} {item['word']}")
        if item["n"] in (2, 4):
            raise ValueError(f"{item['n']} {item['word']}")
        return item


_ONE_FOR_MANY = "one object stands for many items, and what it is in the end is the last of them"
_MOVED_ON = "Scrapy shows a lost item as the spider's own object, which is the next item by now"
_NOT_THE_SAME = {"identity": _ONE_FOR_MANY, "yielded": _ONE_FOR_MANY}
_SIX = Expected(scraped=6)

CASES = [
    Case("reused_dict", ReuseSpider, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_dict_async", AsyncReuseSpider, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_dict_start", StartReuseSpider, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_dict_cleared", CleanedReuse, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_item", ReusedItem, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_item_async", AsyncReusedItem, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case(
        "reused_dataclass_async",
        AsyncReusedDataclass,
        {DescribeData: 300},
        _SIX,
        not_compared=_NOT_THE_SAME,
    ),
    Case("reused_list", ReusedList, {Sum: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case("reused_list_async", AsyncReusedList, {Sum: 300}, _SIX, not_compared=_NOT_THE_SAME),
    Case(
        "shared_list",
        SharedListAtOnceSpider,
        {DescribeShared: 300},
        _SIX,
        not_compared=_NOT_THE_SAME,
    ),
    Case(
        "shared_list_async",
        SharedListSpider,
        {DescribeShared: 300},
        _SIX,
        not_compared=_NOT_THE_SAME,
    ),
    Case(
        "changed_after_yield", SpoilsAfterwards, {Describe: 300}, _SIX, not_compared=_NOT_THE_SAME
    ),
    Case(
        "reused_dict_with_losses",
        AsyncReuseSpider,
        {LoseSome: 300},
        Expected(scraped=2, dropped=2, failed=2),
        not_compared=_NOT_THE_SAME | dict.fromkeys(("dropped", "failed", "logs"), _MOVED_ON),
    ),
]
