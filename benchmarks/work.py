"""What the items are and what is done to them, the same for every peer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Work = Callable[[dict[str, Any]], dict[str, Any]]


def nothing(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is: what remains is the cost of the trip."""
    return item


def burn(item: dict[str, Any]) -> dict[str, Any]:
    """Use a core for the item's ``seconds`` of CPU."""
    end = time.thread_time() + item["seconds"]
    while time.thread_time() < end:
        pass
    return item


def sleep(item: dict[str, Any]) -> dict[str, Any]:
    """Take the item's ``seconds`` without using a core: workers may outnumber the cores."""
    time.sleep(item["seconds"])
    return item


def add_field(item: dict[str, Any]) -> dict[str, Any]:
    """Look at a large field and add a small one."""
    item["length"] = len(item["html"])
    return item


def small(count: int) -> Iterator[dict[str, Any]]:
    """Items of about 1 KB."""
    for number in range(count):
        yield {
            "url": f"https://example.com/articles/{number}",
            "number": number,
            "title": f"The title of article number {number}",
            "price": 9.99,
            "body": f"{number:08d} " + "x" * 800,
        }


def timed(count: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Small items that take *seconds* each."""
    for item in small(count):
        yield {**item, "seconds": seconds}


def mixed(count: int, low: float = 0.001, high: float = 0.2) -> Iterator[dict[str, Any]]:
    """Small items that take between *low* and *high* seconds, each magnitude as often."""
    chance = random.Random(1)
    for item in small(count):
        yield {**item, "seconds": low * (high / low) ** chance.random()}


def pages(count: int, size: int) -> Iterator[dict[str, Any]]:
    """Items with *size* bytes of html, different in each."""
    for number in range(count):
        yield {
            "url": f"https://example.com/{number}",
            "html": f"<!-- {number:012d} -->" + "<p>text</p>\n" * (size // 12),
        }


def extract(item: dict[str, Any]) -> dict[str, Any]:
    """The main text of a page, by trafilatura."""
    import trafilatura

    item["text"] = trafilatura.extract(item["html"])
    return item


WORK: dict[str, Work] = {
    "nothing": nothing,
    "burn": burn,
    "sleep": sleep,
    "add_field": add_field,
    "extract": extract,
}
ITEMS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "small": small,
    "timed": timed,
    "mixed": mixed,
    "pages": pages,
}


def make_items(kind: str, count: int, **options: Any) -> partial[Iterator[dict[str, Any]]]:
    """A function that makes the items, so that none waits in memory."""
    return partial(ITEMS[kind], count, **options)
