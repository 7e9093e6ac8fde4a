"""Pipelines that count, that share what they open, and that break what they need."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from .signs import tell

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from typing_extensions import Self


class FlushesAtClose:
    """A writer that keeps rows until it closes, and counts what it has written."""

    def __init__(self, crawler: Crawler) -> None:
        from scrapy import signals

        self.stats = crawler.stats
        self.rows: list[int] = []
        crawler.signals.connect(self.closed, signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def open_spider(self) -> None:
        self.stats.inc_value("writer/opened")

    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(0.02)
        self.rows.append(item["n"])
        return item

    def close_spider(self) -> None:
        tell("flushed", os.getpid(), len(self.rows))
        self.stats.inc_value("writer/rows", len(self.rows))
        self.stats.max_value("writer/largest", max(self.rows, default=0))
        self.stats.set_value("writer/own", len(self.rows))

    def closed(self) -> None:
        self.stats.inc_value("writer/closed")


class FillsItsTable:
    """Creates and fills what is not there, as many do in ``open_spider``, or earlier."""

    def __init__(self, path: str, is_early: bool) -> None:
        self.path = path
        self.is_early = is_early
        if is_early:
            self.open()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler.settings["TABLE"], crawler.settings.getbool("EARLY"))

    def open_spider(self) -> None:
        if not self.is_early:
            self.open()
        tell("opened", os.getpid())

    def open(self) -> None:
        self.connection = sqlite3.connect(self.path, timeout=0.01)
        tables = self.connection.execute("SELECT name FROM sqlite_master").fetchall()
        if not tables:
            self.connection.execute("CREATE TABLE words (word TEXT PRIMARY KEY)")
            rows = ((f"word {n}",) for n in range(20_000))
            self.connection.executemany("INSERT INTO words VALUES (?)", rows)
            self.connection.commit()

    def process_item(self, item: dict[str, Any]) -> Any:
        query = "SELECT count(*) FROM words"
        item["words"] = self.connection.execute(query).fetchone()[0]
        item["pid"] = os.getpid()
        return item

    def close_spider(self) -> None:
        self.connection.close()


class OpensAtItsFourth:
    """Opens at once, then only at the fourth try: those of all workers count, in a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler.settings["TRIES"])

    def open_spider(self) -> None:
        with open(self.path, "a") as tries:
            tries.write(".")
        if os.path.getsize(self.path) in (2, 3):
            tell("refused", os.getpid())
            raise ConnectionError("too many connections")
        tell("opened", os.getpid())

    def process_item(self, item: dict[str, Any]) -> Any:
        return item


class ClosesFilesAt7:
    """With one item it closes file descriptors that are not its own."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 7:
            tell("closes", os.getpid())
            os.closerange(3, 256)
        return item


class TakesATime:
    """Is at each item for 0.4 s."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("busy", item["n"])
        time.sleep(0.4)
        return item
