"""Results for spider middlewares that take no asynchronous ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.plain_results import are_wanted, plain


async def results(end: BaseException | None = None) -> AsyncIterator[int]:
    yield 1
    yield 2
    if end is not None:
        raise end


def read(end: BaseException | None = None) -> Iterator[int]:
    """Read them in a loop that nobody else uses."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(plain(results(end)))).result(20)


class Middleware:
    def plainly(self, response: Any, result: Any) -> Iterator[Any]:
        yield from result

    async def later(self, response: Any, result: Any) -> AsyncIterator[Any]:
        async for one in result:
            yield one


def crawler_with(*methods: Any) -> Crawler:
    manager = SimpleNamespace(methods={"process_spider_output": methods})
    engine = SimpleNamespace(scraper=SimpleNamespace(spidermw=manager))
    return cast("Crawler", SimpleNamespace(engine=engine))


def test_all_results_come() -> None:
    assert [*read()] == [1, 2]


def test_an_exception_comes_behind_the_results_before_it() -> None:
    found = read(KeyError("late"))

    assert (next(found), next(found)) == (1, 2)
    with pytest.raises(KeyError, match="late"):
        next(found)


def test_what_ends_the_loop_is_not_kept_back() -> None:
    with pytest.raises(KeyboardInterrupt):
        read(KeyboardInterrupt())


def test_plain_results_are_wanted_by_middlewares_that_take_no_others() -> None:
    one = Middleware()

    assert are_wanted(crawler_with(None, one.later, one.plainly))
    assert not are_wanted(crawler_with(None, one.later, (one.plainly, one.later)))
    assert not are_wanted(crawler_with())
    assert not are_wanted(cast("Crawler", SimpleNamespace(engine=None)))
