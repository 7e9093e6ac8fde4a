"""The walk of one item through the package, on Scrapy's side: ``python -m tests.walk``.

A crawl whose ``start()`` yields one dict runs with one worker and one hop. From the pipeline in
front of the hop to the one behind it every call of a function of the package is noted in the
crawl's thread; a *move* is a call in another file than the call before.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1] / "scrapy_mpworkers"


class Step(NamedTuple):
    """A call: the file in the package, and the function."""

    file: str
    function: str


class Walk:
    """The calls that one item causes, in their order."""

    steps: list[Step] = []

    @classmethod
    def begin(cls) -> None:
        cls.steps.clear()
        sys.setprofile(cls._note)

    @classmethod
    def end(cls) -> None:
        sys.setprofile(None)

    @classmethod
    def _note(cls, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            cls.steps.append(Step(str(path.relative_to(PACKAGE)), _name(frame.f_code)))


def _name(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)  # from 3.11 on


class Before:
    """Stands in front of the hop."""

    def process_item(self, item: Any) -> Any:
        Walk.begin()
        return item


class Works:
    """Runs in the worker."""

    def process_item(self, item: Any) -> Any:
        item["squared"] = item["number"] ** 2
        return item


class Behind:
    """Stands behind the hop."""

    def process_item(self, item: Any) -> Any:
        Walk.end()
        return item


def walk() -> list[Step]:
    """The steps of an item, from a crawl of its own."""
    import scrapy
    from scrapy.crawler import CrawlerProcess

    from scrapy_mpworkers.pool import recent

    # An item that takes long goes aside to be remembered, and on a busy machine this one might.
    recent.SLOW_SECONDS = 60.0

    class OneItem(scrapy.Spider):
        name = "one_item"

        async def start(self) -> AsyncIterator[Any]:
            yield {"number": 7}

    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "ITEM_PIPELINES": {Before: 100, Behind: 300},
            "MPWORKERS_PIPELINES": {Works: 200},
            "MPWORKERS_WORKERS": 1,
            "LOG_LEVEL": "WARNING",
        }
    )
    process.crawl(OneItem)
    process.start()
    return Walk.steps


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
