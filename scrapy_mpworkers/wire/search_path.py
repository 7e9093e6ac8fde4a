"""Tells which folders of ``sys.path`` other processes are to search."""

from __future__ import annotations

import sys


def search_path() -> list[str]:
    """Return the folders that an import searches: it ignores all of ``sys.path`` but strings."""
    return [str(entry) for entry in sys.path if isinstance(entry, str)]
