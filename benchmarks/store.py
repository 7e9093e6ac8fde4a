"""What batches gain where items are stored: a commit for each item, against one for 500.

Rows go through real crawls into SQLite and, where ``STORE_DSN`` names one, into PostgreSQL; each
database and its driver as they come, so a commit waits for the disk. Runs are interleaved; medians
count. Run it on a machine that does nothing else:

    python tests/postgres.py python -m benchmarks.store [--runs 5] [--rows 20000]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from scrapy_mpworkers import BatchMixin

WORKERS = "a store level, item by item"
BATCHES = "a store level, batches of 500"
WAYS: dict[str, dict[str, Any]] = {
    "ITEM_PIPELINES, item by item": {},
    WORKERS: {},
    BATCHES: {"batch_size": 500},
}
DATABASES = ("SQLite", "PostgreSQL")
#: Where every item has a commit of its own, this share of the rows is enough.
SHARE_BY_ITEM = 0.1
CREATE = "CREATE TABLE rows (url text PRIMARY KEY, title text, body text)"
UPSERT = """
    INSERT INTO rows (url, title, body) VALUES ({})
    ON CONFLICT (url) DO UPDATE SET title = excluded.title, body = excluded.body
"""


class Saves(BatchMixin):
    """One commit for what it is given at once: the items of a batch, or a single one."""

    place = "?, ?, ?"

    def __init__(self, where: str) -> None:
        self.where = where
        self.upsert = UPSERT.format(self.place)

    @classmethod
    def from_crawler(cls, crawler: Any) -> Saves:
        return cls(crawler.settings["BENCH_WHERE"])

    def open_spider(self) -> None:
        self.connection = connect(self.where)

    def process_batch(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = [(item["url"], item["title"], item["body"]) for item in items]
        with self.connection:
            self.connection.executemany(self.upsert, rows)
        return items

    def close_spider(self) -> None:
        self.connection.close()


class SavesToPostgres(Saves):
    place = "%s, %s, %s"

    def process_batch(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = [(item["url"], item["title"], item["body"]) for item in items]
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(self.upsert, rows)
        return items


PIPELINES = {"SQLite": Saves, "PostgreSQL": SavesToPostgres}


class RowsSpider(scrapy.Spider):
    """Yields rows as fast as they are taken, and notes when it began."""

    name = "rows"
    count = 0

    async def start(self) -> AsyncIterator[dict[str, Any]]:
        self.began = time.monotonic()
        for number in range(self.count):
            url = f"https://example.com/articles/{number}"
            yield {"url": url, "title": f"Article {number}", "body": "x" * 1_000}


def connect(where: str) -> Any:
    """To a file of SQLite, or a database of PostgreSQL."""
    if not where.startswith("postgresql:"):
        return sqlite3.connect(where)
    import psycopg

    return psycopg.connect(where)


@dataclass(frozen=True)
class Speed:
    """Rows a second: through the whole crawl, from the first item to the end of the last commit;
    and of the time that the store's worker was busy, which is all that a batch can change."""

    crawl: float
    store: float | None


def crawl(database: str, way: str, where: str, rows: int) -> Speed:
    """One crawl in this process."""
    pipeline = PIPELINES[database]
    settings: dict[str, Any] = {
        "BENCH_WHERE": where,
        "LOG_LEVEL": "ERROR",
        "TELNETCONSOLE_ENABLED": False,
    }
    if way.startswith("ITEM_PIPELINES"):
        settings["ITEM_PIPELINES"] = {pipeline: 900}
    else:
        level = {"name": "store", "pipelines": {pipeline: 900}, "workers": 1, "wait": False}
        settings["ADDONS"] = {"scrapy_mpworkers.Addon": 500}
        settings["MPWORKERS_LEVELS"] = [level | WAYS[way]]
    process = CrawlerProcess(settings)
    crawler = process.create_crawler(RowsSpider)
    process.crawl(crawler, count=rows)
    process.start()
    spider: Any = crawler.spider
    assert crawler.stats is not None
    busy = crawler.stats.get_value("mpworkers/store/time/busy_s")
    return Speed(rows / (time.monotonic() - spider.began), rows / busy if busy else None)


def run(database: str, way: str, rows: int) -> Speed:
    """One crawl in a process of its own, into an empty table; all rows must be there."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"{folder}/rows.sqlite" if database == "SQLite" else os.environ["STORE_DSN"]
        connection = connect(where)
        connection.execute("DROP TABLE IF EXISTS rows")
        connection.execute(CREATE)
        connection.commit()
        command = [sys.executable, "-m", "benchmarks.store", "--one", database, way, where]
        done = subprocess.run([*command, str(rows)], check=True, capture_output=True, text=True)
        [(stored,)] = connection.execute("SELECT count(*) FROM rows").fetchall()
        connection.close()
    if stored != rows:
        raise RuntimeError(f"{stored} of {rows} rows are in {database}:\n{done.stderr[-2000:]}")
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    databases = [name for name in DATABASES if name == "SQLite" or os.environ.get("STORE_DSN")]
    found: dict[tuple[str, str], list[Speed]] = {(d, way): [] for d in databases for way in WAYS}
    for _ in range(options.runs):
        for (database, way), speeds in found.items():
            share = 1 if way == BATCHES else SHARE_BY_ITEM
            speeds.append(run(database, way, int(options.rows * share)))
    print(
        f"Rows of 1 KB a second, medians of {options.runs} interleaved runs; CPython "
        f"{platform.python_version()}, {os.cpu_count()} cores\n"
    )
    print("| | " + " | ".join(f"{d}, crawl | {d}, store alone" for d in databases) + " |")
    print("| --- " * (2 * len(databases) + 1) + "|")
    for way in WAYS:
        _print(way, [number for d in databases for number in _medians(found[d, way])], ",.0f")
    pairs = [(_medians(found[d, BATCHES]), _medians(found[d, WORKERS])) for d in databases]
    ratios = [one / other for pair in pairs for one, other in zip(*pair, strict=True)]
    _print("batches, of item by item in the level", ratios, ".1f")


def _medians(speeds: list[Speed]) -> tuple[float, float]:
    return (
        statistics.median(speed.crawl for speed in speeds),
        statistics.median(speed.store or float("nan") for speed in speeds),
    )


def _print(name: str, numbers: list[float], form: str) -> None:
    cells = ["" if math.isnan(number) else f"{number:{form}}" for number in numbers]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asdict(crawl(*sys.argv[2:5], int(sys.argv[5])))))
    else:
        main()
