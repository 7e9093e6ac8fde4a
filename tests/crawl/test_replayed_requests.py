"""A request that an earlier run has kept goes out again, and its record hears of its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scrapy import Request
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl.replayed_requests import ReplayedRequests
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.wire.codec import ParentCodec


class Letter(StoredItem):
    def __init__(self, codec: ParentCodec) -> None:
        self.hop = ()
        self.frame = codec.stored(codec.dump(Request("data:,x")))
        self.ends: list[Exception | None] = []

    def ended(self, error: Exception | None) -> None:
        self.ends.append(error)


@pytest.fixture
def letter() -> Letter:
    return Letter(ParentCodec({}))


def told(letter: Letter, results: Any) -> Any:
    """What the crawl gets of *results*, which are those of the letter's callback."""
    requests = ReplayedRequests(get_crawler(), ParentCodec({}))
    requests.are_told = True

    async def call(_: StoredItem | None) -> Any:
        return results

    return run(requests.told(requests.begin(letter), call))


def run(work: Any) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def fails() -> Iterable[int]:
    yield 1
    raise ValueError("no luck")


def test_plain_results_stay_plain(letter: Letter) -> None:
    found = told(letter, [1, 2])

    assert not isinstance(found, AsyncIterator)
    assert letter.ends == []
    assert list(found) == [1, 2]
    assert letter.ends == [None]


def test_asynchronous_results_stay_asynchronous(letter: Letter) -> None:
    async def results() -> AsyncIterator[int]:
        yield 1

    async def read(found: AsyncIterator[int]) -> list[int]:
        return [one async for one in found]

    found = told(letter, results())

    assert run(read(found)) == [1]
    assert letter.ends == [None]


def test_error_behind_results_is_told(letter: Letter) -> None:
    found = iter(told(letter, fails()))

    assert next(found) == 1
    with pytest.raises(ValueError, match="no luck"):
        next(found)
    assert [type(error) for error in letter.ends] == [ValueError]
