"""A crawl of Python's own library documentation into a full-text index."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INDEX = os.environ.get("STORE_DSN") or str(PROJECT / "pages.sqlite")
