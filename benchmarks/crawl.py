"""A real crawl: generated article pages, main text by trafilatura; wall time against the ideal.

    python -m benchmarks.crawl [--pages 1000] [--runs 3] [PEER ...]

Pages come from ``file://``, so no second process serves them. The ideal is the larger of Scrapy's
own CPU and all CPU shared among the cores; both are measured in the same run, by a crawl whose
pipeline does nothing and by an inline one. Wall time and CPU are both without the imports before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

from benchmarks.drive import Spec, settings_of, watch_lag
from benchmarks.groups import CORES, LIMIT
from benchmarks.measure import DEADLINE, in_turn, percentile
from benchmarks.peers import OURS, PEERS
from benchmarks.versions import heading

ALONE, INLINE = "scrapy alone", "inline"
ALL = (OURS, *(peer for peer in PEERS if peer not in (INLINE, LIMIT)))
PAGES = 1000
MIB = 1 << 20
STARTED, USED = time.monotonic(), time.process_time()  # seconds; when Scrapy is imported
WORDS = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world"),
    *("school", "state", "family", "student", "group", "country", "problem", "hand", "part"),
)


@dataclass
class Trip:
    """One crawl. Seconds since Scrapy was imported, and bytes.

    ``first``: to the first item out; ``cpu``: of this process; ``memory``: its peak;
    ``worker_memory``: resident in all processes below it, when half of the items were out.
    """

    wall: float
    first: float
    cpu: float
    memory: int
    worker_memory: int
    lags: list[float] = field(default_factory=list)


class ArticleSpider(scrapy.Spider):
    """Every page of a folder becomes an item."""

    name = "articles"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.start_urls = [path.as_uri() for path in sorted(Path(folder).glob("*.html"))]
        self.lags: list[float] = []
        self.first: float | None = None
        self.items = 0
        self.worker_memory = 0

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> ArticleSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.begin, signals.spider_opened)
        crawler.signals.connect(spider.item_out, signals.item_scraped)
        return spider

    def begin(self) -> None:
        self.ticker = asyncio.ensure_future(watch_lag(self.lags))

    def item_out(self) -> None:
        self.items += 1
        if self.first is None:
            self.first = time.monotonic() - STARTED
        if self.items == len(self.start_urls) // 2:
            below = psutil.Process().children(recursive=True)
            self.worker_memory = sum(child.memory_info().rss for child in below)

    def parse(self, response: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        title = response.css("title::text").get()
        yield {"url": response.url, "title": title, "html": response.text}


def write_pages(folder: Path, count: int) -> None:
    """Articles of about 150 KB, different in each, between menus that are not part of them."""
    for number in range(count):
        chance = random.Random(number)
        menu = "".join(f"<li><a href=/{n}>{chance.choice(WORDS)}</a></li>" for n in range(200))
        paragraphs = "".join(
            f"<p>{' '.join(chance.choices(WORDS, k=80))}.</p>\n" for _ in range(300)
        )
        (folder / f"{number:06d}.html").write_text(
            f"<html><head><title>Article {number}</title></head><body><nav><ul>{menu}</ul></nav>"
            f"<article><h1>Article {number}</h1>{paragraphs}</article></body></html>"
        )


def crawl(peer: str, work: str, folder: str) -> Trip:
    """One crawl in this process."""
    spec = Spec(peer, work, "", 0, workers=CORES)
    process = CrawlerProcess(settings_of(spec))
    crawler = process.create_crawler(ArticleSpider)
    process.crawl(crawler, folder=folder)
    process.start()
    spider: Any = crawler.spider
    return Trip(
        wall=time.monotonic() - STARTED,
        first=spider.first,
        cpu=time.process_time() - USED,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        worker_memory=spider.worker_memory,
        lags=spider.lags,
    )


def run(peer: str, work: str, folder: Path) -> Trip:
    """One crawl in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.crawl", "--one", peer, work, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        raise RuntimeError(f"{peer} failed:\n{done.stderr[-2000:]}")
    return Trip(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crawl")
    parser.add_argument("peers", nargs="*", default=ALL)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    text, _ = report(options.peers, options.pages, options.runs)
    print(heading(options.runs))
    print(text)


def report(peers: Sequence[str], pages: int, runs: int) -> tuple[str, Mapping[str, float]]:
    """Interleaved crawls of all peers: a table, and which share of the ideal each has reached."""
    trips: dict[str, list[Trip]] = {name: [] for name in (ALONE, INLINE, *peers)}
    with tempfile.TemporaryDirectory() as folder:
        write_pages(Path(folder), pages)
        for name in in_turn(list(trips), runs):
            peer, work = (INLINE, "nothing") if name == ALONE else (name, "extract")
            trips[name].append(run(peer, work, Path(folder)))
    alone, whole = (statistics.median(trip.cpu for trip in trips[name]) for name in (ALONE, INLINE))
    ideal = max(alone, whole / CORES)
    lines = [
        f"{pages:,} pages, {CORES} cores; CPU of Scrapy alone {alone:.1f} s, of extraction "
        f"{whole - alone:.1f} s",
        "",
        "| | wall, s | of ours | of the ideal | first item, s | lag p50, ms | p99 | max "
        "| parent, MiB | workers, MiB |",
        "| --- " * 10 + "|",
    ]
    walls = {name: statistics.median(trip.wall for trip in found) for name, found in trips.items()}
    ours = walls.get(OURS, math.nan)
    for name, found in trips.items():
        lines.append(
            f"| {name} | {walls[name]:.1f} | {walls[name] / ours:.2f} | {ideal / walls[name]:.2f} |"
            f" {statistics.median(trip.first for trip in found):.2f} |"
            f" {statistics.median(percentile(trip.lags, 50) for trip in found) * 1e3:.1f} |"
            f" {statistics.median(percentile(trip.lags, 99) for trip in found) * 1e3:.1f} |"
            f" {statistics.median(max(trip.lags) for trip in found) * 1e3:.1f} |"
            f" {statistics.median(trip.memory for trip in found) / MIB:.0f} |"
            f" {statistics.median(trip.worker_memory for trip in found) / MIB:.0f} |"
        )
    return "\n".join([*lines, ""]), {n: ideal / wall for n, wall in walls.items() if n != ALONE}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asdict(crawl(*sys.argv[2:]))))
    else:
        main()
