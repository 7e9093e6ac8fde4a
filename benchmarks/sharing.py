"""What crawls of one process gain by sharing workers: five spiders at once, and five in turn.

At once: processes, their memory (PSS, where the system tells) and seconds, with shared workers and
with a pool for each (levels of different names). In turn: seconds until the workers of each crawl
are ready; the first one launches the fork server, which the others find.

    python -m benchmarks.sharing [--runs 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import psutil
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerRunner

SPIDERS, ITEMS = 5, 200
READY = re.compile(r"Workers.* ready after ([0-9.]+) s")


def burn(item: dict[str, Any]) -> dict[str, Any]:
    """5 ms of CPU, or as much sleep."""
    end = time.thread_time() + 0.005
    while time.thread_time() < end:
        pass
    return item


class ItemsSpider(scrapy.Spider):
    """Yields some items, and weighs all processes when half of them are done."""

    name = "items"

    async def start(self) -> AsyncIterator[Any]:
        self.crawler.signals.connect(self.weigh, signals.item_scraped)
        for number in range(ITEMS):
            yield {"number": number}

    def weigh(self) -> None:
        if self.crawler.stats.get_value("item_scraped_count", 0) == ITEMS // 2:
            children = psutil.Process().children(recursive=True)
            weights.append((len(children), sum(map(_memory, children))))


weights: list[tuple[int, int]] = []  #: (processes below this one, their bytes)


class ReadyTimes(logging.Handler):
    """Notes how long workers took to be ready."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if found := READY.search(record.getMessage()):
            self.seconds.append(float(found[1]))


async def crawl(turn: str) -> list[float]:
    """Run the spiders, and return how long their workers took to be ready."""
    times = ReadyTimes()
    logging.root.addHandler(times)
    logging.root.setLevel(logging.INFO)
    runs = []
    for number in range(SPIDERS):
        name = f"own{number}" if turn == "apart" else "shared"
        level = {"name": name, "pipelines": {"benchmarks.sharing.burn": 300}, "workers": 2}
        settings = {"ADDONS": {"scrapy_mpworkers.Addon": 500}, "TWISTED_REACTOR_ENABLED": False}
        runner = AsyncCrawlerRunner({**settings, "MPWORKERS_LEVELS": [level]})
        runs.append(runner.crawl(ItemsSpider))
        if turn == "in turn":
            await runs.pop()
    await asyncio.gather(*runs)
    return times.seconds


def measure(turn: str) -> None:
    """One run, in this process; prints a line of JSON."""
    began = time.monotonic()
    ready = asyncio.run(crawl(turn))
    seconds = time.monotonic() - began
    processes, memory = max(weights)
    print(json.dumps({"ready": ready, "wall": seconds, "processes": processes, "bytes": memory}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    turns = ("batched", "apart", "in turn")
    runs: dict[str, list[dict[str, Any]]] = {turn: [] for turn in turns}
    for _ in range(options.runs):
        for turn in turns:
            command = [sys.executable, "-m", "benchmarks.sharing", "--one", turn]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs[turn].append(json.loads(out.splitlines()[-1]))
    print("| five crawls at once | processes | memory, MiB | seconds |\n|---|---|---|---|")
    for turn in turns[:2]:
        cells = (_median(runs[turn], key) for key in ("processes", "bytes", "wall"))
        count, memory, wall = cells
        print(f"| {turn} | {count:.0f} | {memory / (1 << 20):.0f} | {wall:.1f} |")
    boots = [run["ready"] for run in runs["in turn"]]
    medians = [statistics.median(times) for times in zip(*boots, strict=True)]
    print(f"\nIn turn, workers ready after: {', '.join(f'{t:.2f} s' for t in medians)}")


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _memory(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return getattr(full, "pss", full.uss)


if __name__ == "__main__":
    main()
