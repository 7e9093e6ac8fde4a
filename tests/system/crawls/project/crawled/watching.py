"""An extension that takes snapshots all the time, as a page would, and tells what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.utils.asyncio import create_looping_call

from scrapy_mpworkers import WorkerExtension

from .signs import tell

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class Shows:
    """Tells of the state, of who is at which item, and of the events, whenever any has changed."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._told: list[Any] = []
        self._call = create_looping_call(self._look)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Shows:
        shows = cls(crawler)
        crawler.signals.connect(shows.spider_opened, signals.spider_opened)
        crawler.signals.connect(shows.spider_closed, signals.spider_closed)
        return shows

    def spider_opened(self) -> None:
        self._call.start(0.02)

    def spider_closed(self) -> None:
        self._call.stop()
        self._look()

    def _look(self) -> None:
        extension = self._crawler.get_extension(WorkerExtension)
        assert extension is not None
        seen = extension.snapshot(with_pss=True).as_dict()
        workers = {
            worker["name"]: [worker["state"], (worker["task"] or {}).get("label"), worker["pid"]]
            for level in seen["levels"]
            for worker in level["workers"]
        }
        events = [[one["kind"], one["worker"], one["label"]] for one in seen["events"]]
        done = [level["items"]["done"] for level in seen["levels"]]
        facts = [seen["state"], workers, events, done]
        if facts != self._told:
            self._told = facts
            tell("shown", *facts)
