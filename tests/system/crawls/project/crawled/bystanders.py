"""Pipelines that stay on the reactor, beside the offloaded ones, and do there what is a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class FailsToOpen:
    def open_spider(self) -> None:
        raise RuntimeError("a bystander failed to open")


class FailsToClose:
    def close_spider(self) -> None:
        raise RuntimeError("a bystander failed to close")


class FailsToCloseAsync:
    async def close_spider(self) -> None:
        raise RuntimeError("a bystander failed to close")


class LetsOneBeLate:
    """Holds the first item until another one has failed."""

    def __init__(self) -> None:
        self.failed: Deferred[None] = Deferred()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> LetsOneBeLate:
        pipeline = cls()
        crawler.signals.connect(pipeline.item_error, signals.item_error)
        return pipeline

    def item_error(self) -> None:
        if not self.failed.called:
            self.failed.callback(None)

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["n"] == 1:
            await maybe_deferred_to_future(self.failed)
        return item
