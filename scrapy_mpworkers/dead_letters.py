"""Dead letters: items that were given up, kept with their reason in a JSON Lines file.

One line is one letter: readable by people and by ``jq``, with the pickled frame beside it, from
which ``scrapy mpworkers replay`` makes the item again.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from itemadapter import ItemAdapter

from scrapy_mpworkers.private_files import open_private, read_private
from scrapy_mpworkers.wire.codec import StoredFrame

logger = logging.getLogger(__name__)

_SHOWN = 2000  # characters of an item in the log


@dataclass(frozen=True)
class DeadLetter:
    """An item that was given up.

    ``item``: its fields, as JSON can say them. ``hop``: import paths of the pipelines that it was
    on its way to. ``reason``: class of the error, ``error``: its text. ``time``: ISO 8601, UTC.
    """

    item: Any
    frame: StoredFrame
    hop: tuple[str, ...]
    reason: str
    error: str
    traceback: str
    deaths: int
    attempts: int
    worker: str | None
    spider: str
    time: str

    def to_json(self) -> str:
        """The letter as one line, without its end. Plain ASCII."""
        definitions = {str(n): _text(blob) for n, blob in self.frame.definitions.items()}
        frame = {
            "frame": _text(self.frame.data),
            "definitions": definitions,
            "results": list(map(_text, self.frame.results)),
        }
        return json.dumps({**self.__dict__, **frame}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> DeadLetter:
        """The letter of one line.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        told = json.loads(line)
        definitions = {int(n): _bytes(blob) for n, blob in told.pop("definitions").items()}
        results = tuple(map(_bytes, told.pop("results")))
        frame = StoredFrame(_bytes(told.pop("frame")), definitions, results)
        return cls(**told | {"frame": frame, "hop": tuple(told["hop"])})


class DeadLetterFile:
    """Appends letters to a file. It is open only while one is written: they are rare.

    Any number of crawls may write to the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Find out whether letters can be written; leaves no empty file behind.

        Raises:
            NotPrivateError: someone else owns the file or can write to it.
            OSError: it cannot be opened.
        """
        existed = self.path.exists()
        os.close(open_private(self.path))
        if not existed:
            self.path.unlink()

    def add(self, letter: DeadLetter) -> None:
        """Append *letter*, in one write, so that those of two crawls never mix.

        Raises:
            OSError: it could not be written, or not wholly.
        """
        line = letter.to_json().encode() + b"\n"
        descriptor = open_private(self.path)
        try:
            if _ends_within_a_line(descriptor):
                line = b"\n" + line  # what a crash or a full disk has left stays a line of its own
            if os.write(descriptor, line) < len(line):
                raise OSError(f"{self.path}: no space left for a dead letter")
        finally:
            os.close(descriptor)


def read_letters(path: Path, warn: bool = True) -> Iterator[DeadLetter]:
    """The letters of a file; a line that is none is skipped, with a warning if *warn*.

    Raises:
        NotPrivateError: someone else owns the file or can write to it.
        OSError: it cannot be opened.
    """
    with open(read_private(path), "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield DeadLetter.from_json(line)
            except (ValueError, TypeError, KeyError, AttributeError):
                if warn:
                    logger.warning("Line %d of %s is no dead letter and is skipped", number, path)


def history(error: BaseException) -> dict[str, Any]:
    """The fields of a letter that say why, and when: now."""
    return {
        "reason": type(error).__name__,
        "error": str(error),
        "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    }


def readable(fields: Any) -> Any:
    """*fields* as JSON can say them; what it has no word for becomes its ``repr``."""
    try:
        return json.loads(json.dumps(fields, default=_described, allow_nan=False))
    except Exception:  # a loop, a key that is no text, not a number, or a repr that fails
        if isinstance(fields, dict):
            return {_described(name): _described(value) for name, value in fields.items()}
        return _described(fields)


def shown(item: Any) -> str:
    """A readable item for the log, shortened."""
    text = json.dumps(item, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _described(value: Any) -> Any:
    try:
        return ItemAdapter(value).asdict() if _is_nested_item(value) else _as_text(value)
    except Exception as error:
        return f"<a {type(value).__qualname__}; {type(error).__name__} while showing it>"


def _is_nested_item(value: Any) -> bool:
    return not isinstance(value, dict) and ItemAdapter.is_item(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _ends_within_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if not size:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
