"""The same index in PostgreSQL: ``pip install 'psycopg[binary]'``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from pydocs.index import Index, Marks, Row, page_rows, pair_rows
from pydocs.items import Page


class PostgresIndex(Index):
    schema = """
        CREATE TABLE IF NOT EXISTS pages (
            module text PRIMARY KEY,
            title text, keywords text, text text, crawl double precision,
            search tsvector GENERATED ALWAYS AS (
                setweight(to_tsvector('english', replace(module, '.', ' ') || ' ' || title), 'A')
                || setweight(to_tsvector('english', keywords), 'B')
                || to_tsvector('english', text)
            ) STORED
        );
        CREATE INDEX IF NOT EXISTS pages_search ON pages USING gin (search);
        CREATE TABLE IF NOT EXISTS near_copies (
            module text, other text, crawl double precision, PRIMARY KEY (module, other)
        );
    """
    upsert_page = """
        INSERT INTO pages (module, title, keywords, text, crawl) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (module) DO UPDATE SET
            title = excluded.title, keywords = excluded.keywords,
            text = excluded.text, crawl = excluded.crawl
    """
    upsert_pair = """
        INSERT INTO near_copies (module, other, crawl) VALUES (%s, %s, %s)
        ON CONFLICT (module, other) DO UPDATE SET crawl = excluded.crawl
    """
    find = """
        SELECT module, title, keywords,
            ts_headline('english', text, query, 'MaxWords=24, MinWords=16, ' || %s)
        FROM pages, websearch_to_tsquery('english', %s) AS query
        WHERE search @@ query ORDER BY ts_rank(search, query) DESC, module
    """

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute(self.schema)

    def save(self, pages: Sequence[Page], crawl: float) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(self.upsert_page, page_rows(pages, crawl))
            cursor.executemany(self.upsert_pair, pair_rows(pages, crawl))

    def finish(self, crawl: float) -> None:
        with self._connection.transaction():
            self._connection.execute("DELETE FROM pages WHERE crawl <> %s", [crawl])
            self._connection.execute("DELETE FROM near_copies WHERE crawl <> %s", [crawl])

    def found(self, words: Sequence[str], marks: Marks) -> Iterable[Row]:
        start, stop = marks
        options = f'StartSel="{start}", StopSel="{stop}"'
        return self._connection.execute(self.find, [options, " OR ".join(words)])

    def select(self, query: str) -> list[Row]:
        return self._connection.execute(query).fetchall()

    def close(self) -> None:
        self._connection.close()
