"""Parts of a crawl that are used before it has begun, or without it, as tests of spiders do."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from scrapy import Request, Spider, signals
from scrapy.core.scraper import Scraper
from scrapy.core.spidermw import SpiderMiddlewareManager
from scrapy.http import Response
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.misc import build_from_crawler
from scrapy.utils.test import get_crawler

SETTINGS = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {"crawl.test_unbegun.Adds": 300},
    "MPWORKERS_WORKERS": 0,
}


class Adds:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"added": True}


class StartsSpider(Spider):
    name = "starts"

    async def start(self) -> Any:
        yield {"n": 1}
        yield Request("data:,")
        yield {"n": 2}

    def parse(self, response: Any) -> Any:
        yield {"n": 3}


@pytest.fixture
def crawler() -> Any:
    crawler = get_crawler(StartsSpider, SETTINGS)
    crawler.spider = crawler._create_spider()
    return crawler


@ensureDeferred
async def test_what_a_spider_starts_with_passes_before_any_pipeline_is_open(crawler: Any) -> None:
    manager = build_from_crawler(SpiderMiddlewareManager, crawler)

    first, request, last = [one async for one in await manager.process_start()]

    assert (first, request.url, last) == ({"n": 1}, "data:,", {"n": 2})


@ensureDeferred
async def test_a_scraper_processes_items_without_an_engine(crawler: Any) -> None:
    items: list[Any] = []

    def scraped(item: Any) -> None:
        items.append(item)

    async def scrape() -> None:
        scraper = Scraper(crawler)
        await scraper.open_spider_async()
        queued = scraper.enqueue_scrape(Response("data:,"), Request("data:,"))
        await maybe_deferred_to_future(queued)
        await scraper.close_spider_async()

    crawler.signals.connect(scraped, signals.item_scraped)
    await deferred_from_coro(scrape())

    assert items == [{"n": 3, "added": True}]
