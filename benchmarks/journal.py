"""What the journal costs: a crawl of items that take 1 ms of CPU, with it and without.

Runs are interleaved; medians and the median of the ratios count. Run it on a machine that does
nothing else:

    python -m benchmarks.journal [runs] [items]
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

ITEM_SECONDS = 0.001
BODY = "x" * 2_000


class BurnCPU:
    """An item pipeline that does nothing but use a core for 1 ms."""

    def process_item(self, item: Any) -> Any:
        end = time.thread_time() + ITEM_SECONDS
        while time.thread_time() < end:
            pass
        return item


class ItemsSpider(scrapy.Spider):
    """Yields items as fast as they are taken, and notes when it began."""

    name = "items"
    count = 0

    async def start(self) -> AsyncIterator[dict[str, Any]]:
        self.began = time.monotonic()
        for number in range(self.count):
            yield {"number": number, "body": BODY}


def crawl(journal: bool, items: int) -> None:
    """One crawl in this process; prints its items a second."""
    with tempfile.TemporaryDirectory() as folder:
        process = CrawlerProcess(
            {
                "ADDONS": {"scrapy_mpworkers.Addon": 500},
                "MPWORKERS_PIPELINES": {"benchmarks.journal.BurnCPU": 300},
                "MPWORKERS_JOURNAL": journal,
                "JOBDIR": folder,
                "LOG_LEVEL": "ERROR",
                "TELNETCONSOLE_ENABLED": False,
            }
        )
        crawler = process.create_crawler(ItemsSpider)
        process.crawl(crawler, count=items)
        process.start()
        seconds = time.monotonic() - crawler.spider.began  # type: ignore[union-attr]
    print(json.dumps(items / seconds))


def run(journal: bool, items: int) -> float:
    """One crawl in a process of its own: items a second."""
    command = [sys.executable, "-m", "benchmarks.journal", "crawl", str(int(journal)), str(items)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def main(runs: int, items: int) -> None:
    """Interleaved runs; a line for each pair, then the medians."""
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {items} items of 1 ms")
    pairs = []
    for number in range(runs):
        # Each second pair the other way round, lest a drift of the machine favours one side.
        order = (True, False) if number % 2 else (False, True)
        speeds = {journal: run(journal, items) for journal in order}
        pairs.append((speeds[True], speeds[False]))
        _print("", *pairs[-1])
    _print("median", *(statistics.median(side) for side in zip(*pairs, strict=True)))
    ratio = statistics.median(with_it / without for with_it, without in pairs)
    print(f"median of ratios {ratio:.3f}")


def _print(name: str, with_it: float, without: float) -> None:
    ratio = with_it / without
    print(f"{name:8}{with_it:8.0f} items/s with, {without:8.0f} without: {ratio:.3f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["crawl"]:
        crawl(bool(int(sys.argv[2])), int(sys.argv[3]))
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*(numbers + [7, 10_000][len(numbers) :]))
