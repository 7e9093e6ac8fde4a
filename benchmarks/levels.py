"""What a second level costs Scrapy's process: a crawl of articles at one level, and at two.

At one level a worker extracts a page's text and stores it; at two, one extracts and another stores.
What counts is the CPU of Scrapy's own process for each item, from the opening of the spider to the
end. Runs are interleaved; medians and the median of the ratios count. Run it on a machine that
does nothing else:

    python -m benchmarks.levels [--pages 400] [--runs 7]
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scrapy.crawler import CrawlerProcess

from benchmarks.crawl import ArticleSpider, Load, write_pages
from benchmarks.groups import CORES
from benchmarks.work import extract
from scrapy_mpworkers import BatchMixin


class Stores(BatchMixin):
    """Writes url, title and text to SQLite, and takes the page itself out of the item."""

    def open_spider(self) -> None:
        self.db = sqlite3.connect("articles.sqlite", timeout=60)
        self.db.execute("CREATE TABLE IF NOT EXISTS articles (url PRIMARY KEY, title, text)")

    def process_batch(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = [(item["url"], item["title"], item["text"]) for item in items]
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO articles VALUES (?, ?, ?)", rows)
        return items

    def close_spider(self) -> None:
        self.db.close()


BATCHES: dict[str, Any] = {"workers": 1, "batch_size": 100, "batch_seconds": 1.0}
LEVELS: dict[str, list[dict[str, Any]]] = {
    "one": [{"name": "all", "pipelines": {extract: 300, Stores: 400}}],
    "two": [
        {"name": "compute", "pipelines": {extract: 300}},
        {"name": "store", "pipelines": {Stores: 400}, **BATCHES},
    ],
    "two, no wait": [
        {"name": "compute", "pipelines": {extract: 300}},
        {"name": "store", "pipelines": {Stores: 400}, **BATCHES, "wait": False},
    ],
}


class QuietSpider(ArticleSpider):
    """Does not look at the clock, which costs CPU."""

    def begin(self) -> None:
        self.cpu_began = time.process_time()


def crawl(levels: str, folder: str) -> float:
    """One crawl in this process; its CPU seconds."""
    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_LEVELS": LEVELS[levels],
            "MPWORKERS_WORKERS": CORES,
            "LOG_LEVEL": "ERROR",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    crawler = process.create_crawler(QuietSpider)
    process.crawl(crawler, folder=folder)
    process.start()
    spider: Any = crawler.spider
    return time.process_time() - spider.cpu_began


def run(levels: str, folder: Path, pages: int) -> float:
    """One crawl in a process of its own; the CPU of Scrapy's process for one item, in seconds."""
    root = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as results:
        # Not -m: the database is made in the current folder, and this package is not there.
        code = f"import sys; sys.path.insert(0, {root!r}); from benchmarks import levels; "
        code += f"print(levels.crawl({levels!r}, {str(folder)!r}))"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=results, check=True, capture_output=True, text=True)
        database = sqlite3.connect(Path(results) / "articles.sqlite")
        [(stored,)] = database.execute("SELECT count(*) FROM articles").fetchall()
        database.close()
    if stored != pages:
        raise RuntimeError(f"{stored} of {pages} articles were stored:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])) / pages


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.levels")
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    found: dict[str, list[float]] = {levels: [] for levels in LEVELS}
    with tempfile.TemporaryDirectory() as name:
        write_pages(Path(name), Load(options.pages, 150, 1))
        for number in range(options.runs):
            # Each second round the other way, lest a drift of the machine favours one side.
            for levels in reversed(LEVELS) if number % 2 else LEVELS:
                found[levels].append(run(levels, Path(name), options.pages))
    print(
        f"{options.pages} articles of 150 KB, {options.runs} interleaved runs; CPython "
        f"{platform.python_version()}, {CORES} cores\n"
    )
    print("| levels | CPU of Scrapy's process, µs an item | of one level |")
    print("| --- | --- | --- |")
    for levels, costs in found.items():
        pairs = zip(costs, found["one"], strict=True)
        ratio = statistics.median(cost / one for cost, one in pairs)
        print(f"| {levels} | {statistics.median(costs) * 1e6:,.0f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
