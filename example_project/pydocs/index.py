"""The result: a full-text index in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from os import PathLike
from typing import NamedTuple

from pydocs.items import Page

SCHEMA = """
DROP TABLE IF EXISTS pages;
DROP TABLE IF EXISTS near_copies;
CREATE VIRTUAL TABLE pages USING fts5(module, title, keywords, text, tokenize = 'porter');
CREATE TABLE near_copies (module TEXT, other TEXT, PRIMARY KEY (module, other));
"""

# bm25 takes a weight per column: a word in a module's name says more than one in its text.
# snippet takes the column (3 is the text), marks, the sign for an omission and a length in words.
SEARCH = """
SELECT module, title, keywords, snippet(pages, 3, ?, ?, ' … ', 24)
FROM pages WHERE pages MATCH ? ORDER BY bm25(pages, 8, 6, 4, 1), module
"""


class Hit(NamedTuple):
    module: str
    title: str
    keywords: str
    snippet: str
    near_copies: list[str]


class Index:
    def __init__(self, path: str | PathLike[str]) -> None:
        # Transactions by hand: sqlite3 on its own would commit before the schema's statements.
        self._db = sqlite3.connect(path, isolation_level=None)

    @classmethod
    def rebuild(cls, path: str | PathLike[str]) -> Index:
        """Start over, in one transaction: until ``commit()`` readers see the old index."""
        index = cls(path)
        index._db.execute("BEGIN")
        for statement in filter(str.strip, SCHEMA.split(";")):
            index._db.execute(statement)
        return index

    def add(self, page: Page) -> None:
        row = (page.module, page.title, ", ".join(page.keywords), page.text)
        self._db.execute("INSERT INTO pages VALUES (?, ?, ?, ?)", row)
        for other in page.near_copies:
            pairs = [(page.module, other), (other, page.module)]
            self._db.executemany("INSERT INTO near_copies VALUES (?, ?)", pairs)

    def commit(self) -> None:
        self._db.execute("COMMIT")
        self._db.close()

    def search(
        self, words: str, limit: int = 5, marks: tuple[str, str] = ("", "")
    ) -> Iterator[Hit]:
        """The pages that hold most of the words, best first; rare words count more.

        Of pages that say nearly the same only the best is among them, and names the others.
        """
        # In quotes a word is only a word: FTS5 has a query language, people have questions.
        query = " OR ".join('"{}"'.format(word.replace('"', "")) for word in words.split())
        return islice(self._distinct(self._db.execute(SEARCH, (*marks, query))), limit)

    def _distinct(self, rows: Iterable[tuple[str, str, str, str]]) -> Iterator[Hit]:
        told: set[str] = set()
        for row in rows:
            hit = Hit(*row, near_copies=self.near_copies(row[0]))
            if hit.module not in told:
                told.update(hit.near_copies)
                yield hit

    def near_copies(self, module: str) -> list[str]:
        query = "SELECT other FROM near_copies WHERE module = ? ORDER BY other"
        return [other for (other,) in self._db.execute(query, (module,))]

    def rows(self) -> list[tuple[str, ...]]:
        """All that the index holds, in an order that does not tell how it got there."""
        pages = self._db.execute("SELECT module, title, keywords, text FROM pages")
        return sorted([*pages, *self._db.execute("SELECT module, other FROM near_copies")])

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM pages").fetchone()
        return int(count)
