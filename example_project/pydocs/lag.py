"""How late the reactor is: what downloads, timers and signals wait for while it computes."""

from __future__ import annotations

from time import monotonic

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.utils.asyncio import create_looping_call

EVERY = 0.02  # seconds


class ReactorLag:
    """Wants to be called every 20 ms, and notes in the stats how late it was."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.late: list[float] = []
        self.call = create_looping_call(self.note)
        crawler.signals.connect(self.start, signals.spider_opened)
        crawler.signals.connect(self.stop, signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ReactorLag:
        return cls(crawler)

    def start(self) -> None:
        self.due = monotonic() + EVERY
        self.call.start(EVERY, now=False)

    def note(self) -> None:
        now = monotonic()
        self.late.append(max(0.0, now - self.due))
        self.due = now + EVERY

    def stop(self) -> None:
        self.call.stop()
        late = sorted(self.late) or [0.0]
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            seconds = late[round(share * (len(late) - 1))]
            self.crawler.stats.set_value(f"reactor_lag_ms/{name}", round(seconds * 1000))
