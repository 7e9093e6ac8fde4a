"""A crawl whose callback computes: selectors and an ItemLoader, in workers and in other ways.

    python -m benchmarks.callbacks [--pages 600] [--kb 50] [--runs 5] [--sleepers]

Pages come from ``file://``, so no second process serves them; each takes a callback about 10 ms and
yields one item. Beside "inline" stand an inline callback that does nothing, two plain crawls with
half of the pages each, and an async callback that awaits a ``ProcessPoolExecutor``, which gets the
page's text and returns a dict. With ``--sleepers`` callbacks only sleep for so many milliseconds,
in as many workers: how many workers one Scrapy process can feed.

Wall time and CPU are without the imports before. Ratios are within a round; figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import scrapy
from itemloaders.processors import MapCompose, TakeFirst
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.loader import ItemLoader
from scrapy.selector import Selector

from benchmarks.drive import watch_lag
from benchmarks.groups import CORES
from benchmarks.measure import in_turn, percentile
from benchmarks.trips import (
    MIB,
    PLAIN,
    WORDS,
    Trip,
    median,
    proportional_set_size,
    ratio,
    run_alone,
    run_in_parts,
)
from benchmarks.versions import heading

OURS, EMPTY, INLINE = "scrapy_mpworkers", "inline, an empty callback", "inline"
EXECUTOR = "ProcessPoolExecutor"
ALL = (EMPTY, INLINE, OURS, PLAIN, EXECUTOR)
STARTED, USED = time.monotonic(), time.process_time()  # seconds; when Scrapy is imported


def extract(selector: Selector, url: str) -> dict[str, Any]:
    """What people do with a page of a list."""
    loader = ItemLoader(item={"url": url}, selector=selector)
    loader.default_output_processor = TakeFirst()
    loader.add_css("title", "title::text")
    loader.add_css("names", "div.row h2::text", MapCompose(str.strip, str.upper))
    loader.add_xpath("prices", "//div[contains(@class, 'r3')]//span[@class='price']/text()")
    loader.add_css("texts", "div.r1 p::text")
    loader.add_xpath("numbers", "//div[@class]//a/@href", re=r"/x/(\d+)")
    return dict(loader.load_item())


def extract_text(text: str, url: str) -> dict[str, Any]:
    """The same, of what crosses to an executor's process."""
    return extract(Selector(text=text), url)


class ListSpider(scrapy.Spider):
    """Every page of a folder goes to the callback of this way of doing it."""

    name = "lists"
    folder, way, part, milliseconds = "", INLINE, "0/1", "0"

    async def start(self) -> AsyncIterator[Any]:
        self.lags: list[float] = []
        self.first: float | None = None
        self.items = self.memory = 0
        self.crawler.signals.connect(self.item_out, signals.item_scraped)
        self.ticker = asyncio.ensure_future(watch_lag(self.lags))
        self.executor = ProcessPoolExecutor(CORES) if self.way == EXECUTOR else None
        number, of = map(int, self.part.split("/"))
        self.urls = [path.as_uri() for path in sorted(Path(self.folder).glob("*.html"))][number::of]
        callbacks = {EMPTY: self.nothing, EXECUTOR: self.elsewhere}
        for url in self.urls:
            yield scrapy.Request(url, callbacks.get(self.way, self.heavy))

    def item_out(self) -> None:
        self.items += 1
        if self.first is None:
            self.first = time.monotonic() - STARTED
        if self.items == len(self.urls) // 2:
            self.memory = proportional_set_size()
        if self.items == len(self.urls) and self.executor is not None:
            self.executor.shutdown()

    def nothing(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url}

    def heavy(self, response: Any) -> Iterator[Any]:
        if self.milliseconds != "0":
            time.sleep(int(self.milliseconds) / 1e3)
            yield {"url": response.url}
        else:
            yield extract(response.selector, response.url)

    async def elsewhere(self, response: Any) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        arguments = response.text, response.url
        yield await loop.run_in_executor(self.executor, extract_text, *arguments)


def write_pages(folder: Path, pages: int, kilobytes: int) -> None:
    """Lists, different in each, of as many rows as fit."""
    for number in range(pages):
        chance = random.Random(number)
        rows = "".join(
            f"<div class='row r{row % 7}'><h2>Name {row}</h2><a href='/x/{row}.html'>{row}</a>"
            f"<span class='price'> {row}.99 EUR</span>"
            f"<p>{' '.join(chance.choices(WORDS, k=25))}</p></div>\n"
            for row in range(4 * kilobytes)
        )
        page = f"<html><head><title>List {number}</title></head><body>{rows}</body></html>"
        (folder / f"{number:06d}.html").write_text(page)


def crawl(way: str, folder: str, part: str, workers: str, milliseconds: str) -> Trip:
    """Crawl once in this process; the arguments are those of the command line."""
    settings = {"LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False, "DUPEFILTER_DEBUG": False}
    if way == OURS:
        settings |= {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_CALLBACKS": ["heavy"],
            "MPWORKERS_WORKERS": int(workers),
        }
    process = CrawlerProcess(settings)
    crawler = process.create_crawler(ListSpider)
    process.crawl(crawler, folder=folder, way=way, part=part, milliseconds=milliseconds)
    process.start()
    spider: Any = crawler.spider
    assert spider.items == len(spider.urls), f"{spider.items} items"
    wall, cpu = time.monotonic() - STARTED, time.process_time() - USED
    return Trip(wall, spider.first, cpu, spider.memory, spider.lags)


def run(
    folder: Path, way: str, part: str = "0/1", workers: int = CORES, milliseconds: int = 0
) -> Trip:
    """Crawl once in a process of its own."""
    if way == PLAIN:
        return run_in_parts(partial(run, folder, INLINE))
    arguments = [way, str(folder), part, str(workers), str(milliseconds)]
    return run_alone("benchmarks.callbacks", arguments)


def report(folder: Path, pages: int, runs: int) -> str:
    """Interleaved crawls in all ways, as a table."""
    trips: dict[str, list[Trip]] = {way: [] for way in ALL}
    for way in in_turn(list(ALL), runs):
        trips[way].append(run(folder, way))
    lines = [
        "| | wall, s | pages/s of inline | of ours, wall | parent CPU, ms/page | first item, s "
        "| lag p99, ms | PSS, MiB |",
        "| --- " * 8 + "|",
    ]
    for way, found in trips.items():
        lag = statistics.median(percentile(trip.lags, 99) for trip in found) * 1e3
        lines.append(
            f"| {way} | {median(found, 'wall'):.1f} | {ratio(trips[INLINE], found):.2f} "
            f"| {ratio(found, trips[OURS]):.2f} | {median(found, 'cpu') / pages * 1e3:.2f} "
            f"| {median(found, 'first'):.2f} | {lag:.1f} | {median(found, 'memory') / MIB:.0f} |"
        )
    return "\n".join([*lines, ""])


def sleepers(folder: Path, pages: int, runs: int) -> str:
    """Callbacks that sleep: pages a second by the number of workers."""
    lines = ["| workers | milliseconds | pages/s | of what they could |", "| --- " * 4 + "|"]
    for workers, milliseconds in ((2, 10), (8, 10), (16, 10), (32, 20), (64, 50)):
        found = [run(folder, OURS, workers=workers, milliseconds=milliseconds) for _ in range(runs)]
        seconds = statistics.median(trip.wall - trip.first for trip in found)
        rate, most = pages / seconds, workers / milliseconds * 1e3
        lines.append(f"| {workers} | {milliseconds} | {rate:.0f} | {rate / most:.2f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.callbacks")
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--kb", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sleepers", action="store_true")
    options = parser.parse_args()
    print(heading(options.runs))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pages(folder, options.pages, options.kb)
        make = sleepers if options.sleepers else report
        print(f"{options.pages:,} pages of {options.kb} KB, {CORES} cores\n")
        print(make(folder, options.pages, options.runs))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asdict(crawl(*sys.argv[2:]))))
    else:
        main()
