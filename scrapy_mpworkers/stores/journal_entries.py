"""What an earlier run has left in the journal, row by row: some of them may be damaged."""

from __future__ import annotations

import json
import logging
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.texts import ascii_safe

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """An item that is at a hop. ``hop``: import paths of its pipelines."""

    id: int
    hop: tuple[str, ...]
    frame: StoredFrame


def entries(database: sqlite3.Connection, path: Path) -> Iterator[Entry]:
    """What can be read; what cannot is told, and stays where it is."""
    database.text_factory = bytes  # text that is not UTF-8 is the fault of its row alone
    blobs = dict(database.execute("SELECT id, blob FROM definition"))
    for row in database.execute("SELECT * FROM entry ORDER BY id"):
        try:
            yield _entry(row, blobs)
        except _BROKEN as error:
            logger.error(
                "The entry %d of the journal %s is broken and stays there; its item is not "
                "resumed (%s: %s)",
                row[0],
                path,
                type(error).__name__,
                ascii_safe(str(error)),
            )


#: What the parts of a broken entry raise.
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _entry(row: tuple[Any, ...], blobs: dict[int, Any]) -> Entry:
    number, hop, frame, numbers, results = row
    definitions = {int(n): memoryview(blobs[at]) for n, at in json.loads(numbers).items()}
    return Entry(
        number,
        tuple(path + "" for path in json.loads(hop)),  # nothing but texts
        StoredFrame(
            bytes(memoryview(frame)),  # neither a number nor nothing
            {n: bytes(blob) for n, blob in definitions.items()},
            tuple(b64decode(result, validate=True) for result in json.loads(results)),
        ),
    )
