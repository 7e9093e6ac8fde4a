"""An extension that reads the stats all the time, in each way that others do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call

from .signs import tell

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_NAME = "mpworkers/items/submitted"


class Reads:
    """Tells how many items there are by the stats, whenever that has changed."""

    def __init__(self, crawler: Crawler) -> None:
        self._stats: Any = crawler.stats
        self._told: list[Any] = []
        self._call = create_looping_call(self._look)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Reads:
        reads = cls(crawler)
        crawler.signals.connect(reads.spider_opened, signals.spider_opened)
        crawler.signals.connect(reads.spider_closed, signals.spider_closed)
        return reads

    def spider_opened(self) -> None:
        self._stats.get_stats()  # so that Scrapy keeps what it has found
        self._call.start(0.02)

    def spider_closed(self) -> None:
        self._call.stop()

    def _look(self) -> None:
        by_loop = {name: value for name, value in self._stats._stats.items() if name == _NAME}
        printed = repr(self._stats.get_stats())
        facts = [self._stats.get_value(_NAME), by_loop.get(_NAME), f"'{_NAME}': 6" in printed]
        if facts != self._told:
            self._told = facts
            tell("stats", *facts)
