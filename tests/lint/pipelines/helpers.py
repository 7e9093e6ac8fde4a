"""What pipelines share within a project."""

from __future__ import annotations

KNOWN: set[str] = set()


def is_known(url):
    if url in KNOWN:
        return True
    KNOWN.add(url)
    return False


def has(url):
    return url in KNOWN


def clean(text):
    parts = []
    for part in text.split():
        parts.append(part.strip())
    return " ".join(parts)


class Deduplicator:
    def __init__(self):
        self.seen = set()

    def is_new(self, url):
        before = len(self.seen)
        self.seen.add(url)
        return len(self.seen) > before


class Slugger:
    def __init__(self):
        self.slugs = {}

    def slug(self, text):
        if text not in self.slugs:
            self.slugs[text] = clean(text).replace(" ", "-")
        return self.slugs[text]


class Buffer:
    def __init__(self, size):
        self.size = size
        self.rows = []

    def push(self, row):
        self.rows.append(row)
        if len(self.rows) >= self.size:
            self.flush()

    def flush(self):
        print(self.rows)
        self.rows = []


class Client:
    """Has state of its own, and none of items."""

    def __init__(self):
        self.connection = None

    def send(self, row):
        if self.connection is None:
            self.connection = object()
        print(self.connection, row)


ROWS: list[dict] = []


class Collected:
    rows: list[dict] = []
