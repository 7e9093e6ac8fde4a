"""A real crawl: generated article pages, main text by trafilatura; wall time against the ideal.

    python -m benchmarks.crawl [--pages 1000] [--runs 3] [PEER ...]

Pages come from ``file://``, so no second process serves them. The ideal is the larger of Scrapy's
own CPU and all CPU shared among the cores; both are measured in the same run, by a crawl whose
pipeline does nothing and by an inline one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

from benchmarks.drive import Spec, settings_of, watch_lag
from benchmarks.groups import CORES, LIMIT
from benchmarks.measure import percentile
from benchmarks.peers import OURS, PEERS

STARTED = time.monotonic()
WORDS = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world"),
    *("school", "state", "family", "student", "group", "country", "problem", "hand", "part"),
)


@dataclass
class Trip:
    """One crawl. Seconds; ``first``: from the start of the process to the first item out."""

    wall: float
    first: float
    cpu: float
    worker_cpu: float
    peak: int
    lags: list[float] = field(default_factory=list)


class ArticleSpider(scrapy.Spider):
    """Every page of a folder becomes an item."""

    name = "articles"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.start_urls = [path.as_uri() for path in sorted(Path(folder).glob("*.html"))]
        self.lags: list[float] = []
        self.first: float | None = None

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> ArticleSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.begin, signals.spider_opened)
        crawler.signals.connect(spider.item_out, signals.item_scraped)
        return spider

    def begin(self) -> None:
        self.ticker = asyncio.ensure_future(watch_lag(self.lags))

    def item_out(self) -> None:
        if self.first is None:
            self.first = time.monotonic() - STARTED

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
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return Trip(
        wall=time.monotonic() - STARTED,
        first=spider.first,
        cpu=own.ru_utime + own.ru_stime,
        worker_cpu=others.ru_utime + others.ru_stime,
        peak=own.ru_maxrss,
        lags=spider.lags,
    )


def run(peer: str, work: str, folder: Path) -> Trip:
    """One crawl in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.crawl", "--one", peer, work, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{peer} failed:\n{done.stderr[-2000:]}")
    return Trip(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crawl")
    parser.add_argument(
        "peers", nargs="*", default=[OURS, *(p for p in PEERS if p not in ("Dask local", LIMIT))]
    )
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pages(folder, options.pages)
        compare(options.peers, options.runs, folder)


def compare(peers: Sequence[str], runs: int, folder: Path) -> None:
    """Interleaved crawls of all peers, and what would be ideal."""
    trips: dict[str, list[Trip]] = {name: [] for name in ("scrapy alone", "inline", *peers)}
    for _ in range(runs):
        for name, found in trips.items():
            alone = name == "scrapy alone"
            peer, work = ("inline", "nothing") if alone else (name, "extract")
            found.append(run(peer, work, folder))
    alone, whole = (
        statistics.median(trip.cpu for trip in trips[name]) for name in ("scrapy alone", "inline")
    )
    ideal = max(alone, whole / CORES)
    print(f"{CORES} cores; CPU of Scrapy alone {alone:.1f} s, of extraction {whole - alone:.1f} s")
    print("| | wall, s | of the ideal | first item, s | lag p99, ms | max, ms | parent peak, MiB |")
    print("| --- " * 7 + "|")
    for name, found in trips.items():
        wall = statistics.median(trip.wall for trip in found)
        first = statistics.median(trip.first for trip in found)
        p99 = statistics.median(percentile(trip.lags, 99) for trip in found)
        most = statistics.median(max(trip.lags) for trip in found)
        peak = statistics.median(trip.peak for trip in found) / 1024
        print(
            f"| {name} | {wall:.1f} | {ideal / wall:.2f} | {first:.2f} | {p99 * 1e3:.1f} | "
            f"{most * 1e3:.1f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asdict(crawl(*sys.argv[2:]))))
    else:
        main()
