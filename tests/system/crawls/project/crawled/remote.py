"""A stats collector whose server is away, and pipelines that count in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.statscollectors import MemoryStatsCollector

from .pipelines import Mark

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class Remote(MemoryStatsCollector):
    def inc_value(self, key: str, *args: Any, **kwargs: Any) -> None:
        if key.startswith("remote/"):
            raise ConnectionError("the statistics server is away")
        super().inc_value(key, *args, **kwargs)


class Counts(Mark):
    def __init__(self, crawler: Crawler) -> None:
        self.stats = crawler.stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Counts:
        return cls(crawler)


class CountsOpening(Counts):
    def open_spider(self) -> None:
        self.stats.inc_value("remote/opened")


class CountsClosing(Counts):
    def close_spider(self) -> None:
        self.stats.inc_value("remote/closed")
        super().close_spider()
