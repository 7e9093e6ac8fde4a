"""Pipelines that read the stats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals

from .signs import tell

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

#: More than a pipe holds.
LARGE = 8_000_000


class SumsUp:
    """Counts items, and tells at the end how many there were."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SumsUp:
        pipeline = cls()
        pipeline.stats = crawler.stats
        crawler.signals.connect(pipeline.closed, signals.spider_closed)
        return pipeline

    def process_item(self, item: dict[str, Any]) -> Any:
        self.stats.inc_value("counted")
        return item

    def close_spider(self) -> None:
        names = ("counted", "seen", "response_received_count")
        tell("sum", [self.stats.get_value(name) for name in names])
        tell("large", len(self.stats.get_value("large", "")))

    def closed(self) -> None:
        tell("sum", self.stats.get_stats()["seen"])


class Counts:
    """Stays on the reactor, and counts there; one value is large, and one cannot cross."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Counts:
        pipeline = cls()
        pipeline.stats = crawler.stats
        return pipeline

    def process_item(self, item: dict[str, Any]) -> Any:
        self.stats.inc_value("seen")
        self.stats.set_value("large", "x" * LARGE)
        self.stats.set_value("sealed", lambda: None)
        return item


class Peeks(Counts):
    """Reads while items run what the crawl counts."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if self.stats.get_value("item_scraped_count", 0) > 3:
            item["late"] = True
        return item
