"""The walk of one item through the package, on Scrapy's side: ``python -m tests.walk``.

A crawl whose ``start()`` yields a few dicts, one after the other, runs with one worker and one hop.
From the pipeline in front of the hop to the one behind it every call of a function of the package
is noted in the crawl's thread; a *move* is a call in another file than the call before. The walk is
the shortest of them: a timer that happens to end while an item is away makes that item's longer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1] / "scrapy_mpworkers"

#: Scrapy asks it before each download, and whenever its engine looks around: once, twice or three
#: times while an item is away. No item causes that.
ASKED_BY_SCRAPY = PACKAGE / "crawl" / "brake.py"


class Step(NamedTuple):
    """A call: the file in the package, and the function."""

    file: str
    function: str


class Walks:
    """The calls that each item causes, in their order."""

    of_items: list[list[Step]] = []
    is_over = asyncio.Event()

    @classmethod
    def begin(cls) -> None:
        cls.of_items.append([])
        cls.is_over.clear()
        sys.setprofile(cls._note)

    @classmethod
    def end(cls) -> None:
        sys.setprofile(None)
        cls.is_over.set()

    @classmethod
    def _note(cls, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE) and path != ASKED_BY_SCRAPY:
            cls.of_items[-1].append(Step(str(path.relative_to(PACKAGE)), _name(frame.f_code)))


def _name(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)  # from 3.11 on


class Before:
    """Stands in front of the hop."""

    def process_item(self, item: Any) -> Any:
        Walks.begin()
        return item


class Works:
    """Runs in the worker."""

    def process_item(self, item: Any) -> Any:
        item["squared"] = item["number"] ** 2
        return item


class Behind:
    """Stands behind the hop."""

    def process_item(self, item: Any) -> Any:
        Walks.end()
        return item


def walk() -> list[Step]:
    """The steps of an item that nothing else happened beside, from a crawl of its own."""
    import scrapy
    from scrapy.crawler import CrawlerProcess

    from scrapy_mpworkers.pool import recent

    # An item that takes long goes aside to be remembered, and on a busy machine this one might.
    recent.SLOW_SECONDS = 60.0

    class FewItems(scrapy.Spider):
        name = "few_items"

        async def start(self) -> AsyncIterator[Any]:
            for number in range(3):
                yield {"number": number}
                await Walks.is_over.wait()

    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "ITEM_PIPELINES": {Before: 100, Behind: 300},
            "MPWORKERS_PIPELINES": {Works: 200},
            "MPWORKERS_WORKERS": 1,
            "LOG_LEVEL": "WARNING",
        }
    )
    process.crawl(FewItems)
    process.start()
    return min(Walks.of_items, key=moves)


def files(steps: Iterable[Step]) -> set[str]:
    """The files that the item passes."""
    return {step.file for step in steps}


def moves(steps: Iterable[Step]) -> int:
    """How often it moves from one file to another."""
    return len([file for file, _ in groupby(step.file for step in steps)]) - 1


if __name__ == "__main__":
    found = walk()
    for file, inside in groupby(found, key=lambda step: step.file):
        print(f"{file:<28}{', '.join(step.function for step in inside)}")
    print(f"{len(found)} calls, {len(files(found))} files, {moves(found)} moves")
