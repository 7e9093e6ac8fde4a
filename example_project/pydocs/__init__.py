"""A crawl of Python's own library documentation into a full-text index."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INDEX = PROJECT / "index.sqlite"
