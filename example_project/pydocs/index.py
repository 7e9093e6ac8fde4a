"""The result: a full-text index in one SQLite file, or in PostgreSQL."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pydocs.items import Page

Row = tuple[Any, ...]
Marks = tuple[str, str]


class Hit(NamedTuple):
    module: str
    title: str
    keywords: str
    snippet: str
    near_copies: list[str]


class Index(ABC):
    """Pages by module. Each row knows the crawl that wrote it last."""

    @abstractmethod
    def save(self, pages: Sequence[Page], crawl: float) -> None:
        """Insert or update *pages*, all or none: a second time does no harm."""

    @abstractmethod
    def finish(self, crawl: float) -> None:
        """Remove what this crawl has not met, and make the rest searchable."""

    def clear(self) -> None:
        """Remove everything: no crawl started at 0."""
        self.finish(0)

    @abstractmethod
    def found(self, words: Sequence[str], marks: Marks) -> Iterable[Row]:
        """Module, title, keywords and snippet of the pages with any of the words, best first."""

    @abstractmethod
    def select(self, query: str) -> list[Row]:
        """The rows that a query gives."""

    @abstractmethod
    def close(self) -> None: ...

    def search(self, words: str, limit: int = 5, marks: Marks = ("", "")) -> Iterator[Hit]:
        """The pages that hold most of the words, best first; in SQLite rare words count more.

        Of pages that say nearly the same only the best is among them, and names the others.
        """
        return islice(self._distinct(self.found(words.split(), marks)), limit)

    def _distinct(self, rows: Iterable[Row]) -> Iterator[Hit]:
        others: dict[str, list[str]] = {}
        for module, other in self.select("SELECT module, other FROM near_copies ORDER BY other"):
            others.setdefault(module, []).append(other)
        told: set[str] = set()
        for row in rows:
            hit = Hit(*row, near_copies=others.get(row[0], []))
            if hit.module not in told:
                told.update(hit.near_copies)
                yield hit

    def rows(self) -> list[Row]:
        """All that the index holds, in an order that does not tell how it got there."""
        pages = self.select("SELECT module, title, keywords, text FROM pages")
        return sorted([*pages, *self.select("SELECT module, other FROM near_copies")])


def open_index(where: str) -> Index:
    """The index in this SQLite file, or at this ``postgresql://`` DSN."""
    if where.startswith("postgresql://"):
        from pydocs.postgres import PostgresIndex  # needs psycopg, which others need not install

        return PostgresIndex(where)
    return SQLiteIndex(where)


def page_rows(pages: Sequence[Page], crawl: float) -> list[Row]:
    return [(p.module, p.title, ", ".join(p.keywords), p.text, crawl) for p in pages]


def pair_rows(pages: Sequence[Page], crawl: float) -> list[Row]:
    """Whichever of two comes second names the first; either shall name the other."""
    pairs = [(page.module, other) for page in pages for other in page.near_copies]
    return [(*pair, crawl) for one, other in pairs for pair in ((one, other), (other, one))]


class SQLiteIndex(Index):
    # A commit need not wait for the disk: what a power cut takes is crawled again.
    schema = """
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        CREATE TABLE IF NOT EXISTS pages (
            id INTEGER PRIMARY KEY,
            module TEXT UNIQUE, title TEXT, keywords TEXT, text TEXT, crawl REAL
        );
        CREATE TABLE IF NOT EXISTS near_copies (
            module TEXT, other TEXT, crawl REAL, PRIMARY KEY (module, other)
        );
        CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5(
            module, title, keywords, text,
            content = 'pages', content_rowid = 'id', tokenize = 'porter'
        );
    """
    upsert_page = """
        INSERT INTO pages (module, title, keywords, text, crawl) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (module) DO UPDATE SET
            title = excluded.title, keywords = excluded.keywords,
            text = excluded.text, crawl = excluded.crawl
    """
    upsert_pair = """
        INSERT INTO near_copies (module, other, crawl) VALUES (?, ?, ?)
        ON CONFLICT (module, other) DO UPDATE SET crawl = excluded.crawl
    """
    # bm25 takes a weight per column: a word in a module's name says more than one in its text.
    # snippet takes the column (3 is the text), marks, the sign for an omission, a length in words.
    find = """
        SELECT module, title, keywords, snippet(search, 3, ?, ?, ' … ', 24)
        FROM search WHERE search MATCH ? ORDER BY bm25(search, 8, 6, 4, 1), module
    """

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(self.schema)

    def save(self, pages: Sequence[Page], crawl: float) -> None:
        with self._db:  # one transaction
            self._db.executemany(self.upsert_page, page_rows(pages, crawl))
            self._db.executemany(self.upsert_pair, pair_rows(pages, crawl))

    def finish(self, crawl: float) -> None:
        with self._db:
            self._db.execute("DELETE FROM pages WHERE crawl <> ?", [crawl])
            self._db.execute("DELETE FROM near_copies WHERE crawl <> ?", [crawl])
            self._db.execute("INSERT INTO search (search) VALUES ('rebuild')")

    def found(self, words: Sequence[str], marks: Marks) -> Iterable[Row]:
        # In quotes a word is only a word: FTS5 has a query language, people have questions.
        query = " OR ".join('"{}"'.format(word.replace('"', "")) for word in words)
        return self._db.execute(self.find, (*marks, query))

    def select(self, query: str) -> list[Row]:
        return self._db.execute(query).fetchall()

    def close(self) -> None:
        self._db.close()
