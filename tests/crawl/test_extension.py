"""The extension begins once, or not at all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import scrapy
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl import events as module
from scrapy_mpworkers.errors import PoolClosed
from scrapy_mpworkers.extension import WorkerExtension


def test_what_could_not_begin_is_not_half_there_for_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a handler of the spider's attribute")

    monkeypatch.setattr(module, "EffectsSink", broken)
    crawler = get_crawler(scrapy.Spider, {"MPWORKERS_WORKERS": 1})
    crawler.spider = scrapy.Spider("one")
    extension = WorkerExtension.from_crawler(crawler)

    async def calls() -> list[BaseException]:
        return await asyncio.gather(
            extension.run(abs, -1), extension.run(abs, -1), return_exceptions=True
        )

    with ThreadPoolExecutor(1) as thread:
        first, second = thread.submit(asyncio.run, calls()).result(20)

    assert isinstance(first, RuntimeError)
    assert isinstance(second, PoolClosed)
