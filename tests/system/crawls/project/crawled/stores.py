"""Rows by the thousand, and a pipeline that dies while it stores them.

The pipeline is that of the recipe: the test makes ``myproject`` of docs/recipes.md.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import scrapy
from myproject.pipelines import SaveToPostgres

from .signs import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class RowsSpider(scrapy.Spider):
    """Says nothing: it yields a hundred thousand items."""

    name = "rows"
    rows = 1000
    bad = 0
    """The row that no database takes."""

    async def start(self) -> AsyncIterator[Any]:
        for n in range(1, int(self.rows) + 1):
            words = "many" if n == int(self.bad) else n
            yield {"url": f"http://rows.test/{n}", "title": f"{n}", "words": words}


EVERY = int(os.environ.get("CRAWL_DIES_EVERY", "0"))
"""Rows between two deaths behind a commit. Halfway is one in the middle of a transaction."""


class DyingCursor(psycopg.Cursor[Any]):
    def executemany(self, query: Any, rows: Any, **options: Any) -> None:
        super().executemany(query, rows, **options)
        die_at(rows, EVERY // 2)


class DiesStoring(SaveToPostgres):
    """Counts how often it has written each row."""

    create = SaveToPostgres.create.replace(")", ", writes integer DEFAULT 1)")
    upsert = SaveToPostgres.upsert + ", writes = pages.writes + 1"

    def open_spider(self) -> None:
        super().open_spider()
        self.connection.cursor_factory = DyingCursor
        tell("opened", os.getpid())

    def process_batch(self, items: list[dict[str, Any]]) -> Any:
        returned = super().process_batch(items)
        die_at(items, 0)
        return returned


def die_at(rows: list[dict[str, Any]], rest: int) -> None:
    """Each row is the death of one worker at most."""
    for row in rows:
        if int(row["title"]) % EVERY == rest and _first_time(row["title"]):
            os.kill(os.getpid(), signal.SIGKILL)


def _first_time(name: str) -> bool:
    try:
        (Path(os.environ["CRAWL_GATE"]).parent / f"died{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
