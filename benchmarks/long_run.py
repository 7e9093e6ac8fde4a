"""A million small items in one crawl: does the memory of any process grow with them?

    python -m benchmarks.long_run [--items 1000000]

Prints for Scrapy's process and for each worker how its resident memory grows over the last 80 % of
the items (least squares), and how far it ever is above its peak in the first 10,000.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import psutil
import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.drive import Spec, run, settings_of
from benchmarks.groups import CORES
from benchmarks.measure import DEADLINE
from benchmarks.peers import OURS
from benchmarks.work import make_items

FIRST = 10_000  # items after which all that is made once has been made
EVERY = 1_000  # items from one look at the memory to the next


class LongSpider(scrapy.Spider):
    """Yields nothing; drives the pipelines, and looks at the memory of all processes."""

    name = "long"

    def __init__(self, count: int, window: int) -> None:
        super().__init__()
        self.count = count
        self.window = window
        self.memory: dict[str, list[int]] = {}

    async def start(self) -> AsyncIterator[Any]:
        assert self.crawler.engine is not None
        process_item = self.crawler.engine.scraper.itemproc.process_item_async
        processes: dict[str, psutil.Process] = {}
        done = 0

        async def process(item: Any) -> None:
            nonlocal done
            await process_item(item)
            done += 1
            if not done % EVERY:
                if not processes:  # now all workers are there
                    processes.update(crawl_processes())
                for name, one in processes.items():
                    self.memory.setdefault(name, []).append(one.memory_info().rss)

        await run(make_items("small", self.count)(), process, self.window)
        return
        yield


def crawl_processes() -> dict[str, psutil.Process]:
    """This one, and the workers: the children of its fork server."""
    own = psutil.Process()
    workers = [child for child in own.children(recursive=True) if child.ppid() != own.pid]
    return {"Scrapy's process": own} | {f"worker {n}": one for n, one in enumerate(workers, 1)}


def table(memory: dict[str, list[int]]) -> str:
    """How it went, in Markdown."""
    lines = [
        "| | slope, bytes an item | first 10,000, MiB | above that, MiB |",
        "| --- | --- | --- | --- |",
    ]
    for name, sizes in memory.items():
        later = list(enumerate(sizes))[len(sizes) // 5 :]
        slope = statistics.linear_regression(*zip(*later, strict=True)).slope / EVERY
        first = max(sizes[: FIRST // EVERY])
        above = max(sizes) - first
        lines.append(f"| {name} | {slope:.3f} | {first / 2**20:.0f} | {above / 2**20:.1f} |")
    return "\n".join(lines)


def report() -> str:
    """The table of a long run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.long_run"]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=DEADLINE)
    return ran.stdout


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run")
    parser.add_argument("--items", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.items < 2 * FIRST:
        parser.error(f"at least {2 * FIRST} items, or there is nothing to compare")
    spec = Spec(OURS, "nothing", "small", options.items, workers=CORES)
    process = CrawlerProcess(settings_of(spec))
    crawler = process.create_crawler(LongSpider)
    process.crawl(crawler, count=spec.count, window=spec.window)
    process.start()
    print(table(crawler.spider.memory))  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
