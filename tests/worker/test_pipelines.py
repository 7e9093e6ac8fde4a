"""The pipelines of a hop run items together, each call with a time of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scrapy.exceptions import DropItem
from scrapy.utils.test import get_crawler

from scrapy_mpworkers import BatchMixin
from scrapy_mpworkers.worker.pipelines import hop_pipelines

calls: list[str] = []


class Parses:
    """Takes items one by one, and drops the second."""

    def process_item(self, item: Any) -> Any:
        calls.append("parse")
        if item["n"] == 2:
            raise DropItem("nobody wants it")
        return item


class Stores(BatchMixin):
    def process_batch(self, items: list[Any]) -> Any:
        calls.append(f"store {len(items)}")
        return items


def test_each_call_begins_anew() -> None:
    calls.clear()

    async def run() -> list[Any]:
        hop = hop_pipelines([Parses, Stores], get_crawler())
        items = [{"n": 1}, {"n": 2}, {"n": 3}]

        async def guard(coming: Any) -> Any:
            return await coming

        return await hop.process_batched(items, guard, lambda: calls.append("begins"))

    with ThreadPoolExecutor(1) as thread:
        ends = thread.submit(asyncio.run, run()).result()

    assert calls == [*("begins", "parse") * 3, "begins", "store 2"]
    assert [type(end) for end in ends] == [dict, DropItem, dict]
