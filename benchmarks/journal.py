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


class ItemsSpider(scrapy.Spider):
    """Yields items as fast as they are taken, and notes when it began."""

    name = "items"
    count = 0

    async def start(self) -> AsyncIterator[dict[str, Any]]:
        self.began, self.cpu_began = time.monotonic(), time.process_time()
        for number in range(self.count):
            yield {"number": number, "body": BODY, "seconds": ITEM_SECONDS}


def crawl(journal: bool, items: int) -> None:
    """One crawl in this process; prints its items a second and its CPU seconds an item."""
    with tempfile.TemporaryDirectory() as folder:
        process = CrawlerProcess(
            {
                "ADDONS": {"scrapy_mpworkers.Addon": 500},
                "MPWORKERS_PIPELINES": {"benchmarks.work.burn": 300},
                "MPWORKERS_JOURNAL": journal,
                "JOBDIR": folder,
                "LOG_LEVEL": "ERROR",
                "TELNETCONSOLE_ENABLED": False,
            }
        )
        crawler = process.create_crawler(ItemsSpider)
        process.crawl(crawler, count=items)
        process.start()
        spider: Any = crawler.spider
        seconds = time.monotonic() - spider.began
        cpu_seconds = time.process_time() - spider.cpu_began
    print(json.dumps({"speed": items / seconds, "cpu": cpu_seconds / items}))


def run(journal: bool, items: int) -> dict[str, float]:
    """One crawl in a process of its own: items a second, CPU seconds of Scrapy's process."""
    command = [sys.executable, "-m", "benchmarks.journal", "crawl", str(int(journal)), str(items)]
    figures: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return figures


def main(runs: int, items: int) -> None:
    """Interleaved runs; a line for each pair, then the medians."""
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {items} items of 1 ms")
    done: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for number in range(runs):
        # Each second pair the other way round, lest a drift of the machine favours one side.
        for journal in (True, False) if number % 2 else (False, True):
            done[journal].append(run(journal, items))
        _print("", done[True][-1], done[False][-1])
    medians = [{name: _median(name, done[j]) for name in ("speed", "cpu")} for j in (True, False)]
    _print("median", *medians)
    pairs = zip(done[True], done[False], strict=True)
    ratio = statistics.median(one["speed"] / other["speed"] for one, other in pairs)
    print(f"median of ratios {ratio:.3f}")


def _median(name: str, runs: list[dict[str, float]]) -> float:
    return statistics.median(figures[name] for figures in runs)


def _print(name: str, one: dict[str, float], other: dict[str, float]) -> None:
    print(
        f"{name:8}{one['speed']:6.0f} items/s with, {other['speed']:6.0f} without: "
        f"{one['speed'] / other['speed']:.3f}; CPU of Scrapy's process "
        f"{one['cpu'] * 1e6:.0f} and {other['cpu'] * 1e6:.0f} µs an item",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["crawl"]:
        crawl(bool(int(sys.argv[2])), int(sys.argv[3]))
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*(numbers + [7, 10_000][len(numbers) :]))
