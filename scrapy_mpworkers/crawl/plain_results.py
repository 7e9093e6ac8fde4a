"""Turns results into plain ones for spider middlewares that take no asynchronous ones.

Scrapy 2.15 allows such middlewares. It reads asynchronous results to their end for them, warns
of that for each page, and forgets what came before an exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from inspect import isasyncgenfunction
from typing import Any

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.patches import scraper_of


def are_wanted(crawler: Crawler) -> bool:
    """Return whether a spider middleware takes plain results only."""
    manager = getattr(scraper_of(crawler), "spidermw", None)
    methods = getattr(manager, "methods", {}).get("process_spider_output", ())
    # Of a middleware that takes both kinds, Scrapy 2.15 keeps a pair of methods.
    return any(callable(method) and not isasyncgenfunction(method) for method in methods)


async def plain(results: AsyncIterator[Any]) -> Iterator[Any]:
    """Read all results, and return an iterator that yields them, and raises what came last."""
    found: list[Any] = []
    try:
        async for result in results:
            found.append(result)
    except Exception as error:
        return _repeated(found, error)
    return iter(found)


def _repeated(found: list[Any], error: Exception) -> Iterator[Any]:
    yield from found
    raise error
