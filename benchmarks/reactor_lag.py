"""How late is a timer of the reactor while all workers are saturated?

A crawl yields items that cost 20 ms of CPU each, always more than the workers can take, while a
timer of 5 ms notes how late each of its calls is. The same crawl inline shows what would happen
without workers. Run it on a machine that does nothing else:

    python -m benchmarks.reactor_lag [runs]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

ITEM_SECONDS = 0.02
TIMER_SECONDS = 0.005
ITEMS = 500


class LagSpider(scrapy.Spider):
    """Yields items from one page, and watches a timer from the first item to the last."""

    name = "lag"
    start_urls = ["data:,page"]

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> LagSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.lags = []
        crawler.signals.connect(spider.stop_timer, signals.spider_idle)
        return spider

    def parse(self, response: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        self.running = True
        self.schedule()
        for number in range(ITEMS):
            yield {"number": number, "seconds": ITEM_SECONDS}

    def schedule(self) -> None:
        from twisted.internet import reactor

        due = time.monotonic() + TIMER_SECONDS
        reactor.callLater(TIMER_SECONDS, self.tick, due)  # type: ignore[attr-defined]

    def tick(self, due: float) -> None:
        self.lags.append(time.monotonic() - due)
        if self.running:
            self.schedule()

    def stop_timer(self) -> None:
        self.running = False


def crawl(enabled: bool) -> None:
    """One crawl in this process; prints its lags in seconds as JSON."""
    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_PIPELINES": {"benchmarks.work.burn": 300},
            "MPWORKERS_ENABLED": enabled,
            "LOG_LEVEL": "ERROR",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    crawler = process.create_crawler(LagSpider)
    started = time.monotonic()
    process.crawl(crawler)
    process.start()
    print(json.dumps({"lags": crawler.spider.lags, "seconds": time.monotonic() - started}))  # type: ignore[union-attr]


def run(enabled: bool) -> dict[str, float]:
    """One crawl in a process of its own: milliseconds of lag, and its seconds."""
    command = [sys.executable, "-m", "benchmarks.reactor_lag", "crawl", str(int(enabled))]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    lags = sorted(1000 * lag for lag in figures["lags"])
    return {
        "p50": statistics.median(lags),
        "p99": lags[int(0.99 * (len(lags) - 1))],
        "max": lags[-1],
        "seconds": figures["seconds"],
    }


def main(runs: int) -> None:
    """Interleaved runs with and without workers; a line for each, and the medians."""
    columns = ("p50", "p99", "max", "seconds")
    rows: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    print(f"{'':12}" + "".join(f"{name:>10}" for name in columns) + "   (lag in ms)")
    for _ in range(runs):
        for enabled, done in rows.items():
            done.append(run(enabled))
            _print("workers" if enabled else "inline", done[-1])
    for enabled, done in rows.items():
        medians = {name: statistics.median(row[name] for row in done) for name in columns}
        _print("workers *" if enabled else "inline *", medians)
    print("* median of runs")


def _print(name: str, row: dict[str, float]) -> None:
    print(f"{name:12}" + "".join(f"{value:10.1f}" for value in row.values()), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["crawl"]:
        crawl(bool(int(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
