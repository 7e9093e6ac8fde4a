"""Dead letters: items that were given up, kept with their reason in a JSON Lines file.

One line is one letter: readable by people and by ``jq``, with the pickled frame beside it, from
which ``scrapy mpworkers replay`` makes the item again.
"""

from __future__ import annotations

import json
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from scrapy_mpworkers.stores.private_files import opened_alone, read_private, size_at_rest
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.texts import ascii_safe, formatted, text_of

logger = logging.getLogger(__name__)

_SHOWN = 2000  # characters of an item in the log


@dataclass(frozen=True)
class DeadLetter:
    """An item that was given up."""

    item: Any  #: its fields, as JSON can say them
    frame: StoredFrame
    hop: tuple[str, ...]  #: import paths of the pipelines that it was on its way to
    reason: str  #: class of the error
    error: str  #: its text
    traceback: str
    deaths: int
    attempts: int
    worker: str | None
    spider: str
    time: str  #: ISO 8601, UTC

    def to_json(self) -> str:
        """Return the letter as one line of plain ASCII, without its end."""
        frame = {
            "frame": _text(self.frame.data),
            "definitions": {str(n): _text(blob) for n, blob in self.frame.definitions.items()},
            "results": list(map(_text, self.frame.results)),
        }
        return json.dumps({**self.__dict__, **frame}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> DeadLetter:
        """Return the letter of one line.

        Raises:
            ValueError: it is none; the text says why.
        """
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):  # the latter for [[[[[[ and so on
            raise ValueError("it is no JSON, or not all of it") from None
        if not isinstance(told, dict) or told.keys() != _KINDS.keys():
            raise ValueError("its fields are not those of one")
        for name, kind in _KINDS.items():
            if not isinstance(told[name], kind):
                raise ValueError(f"its field {name!r} is a {type(told[name]).__name__}")
        definitions = {int(n): _bytes(blob) for n, blob in told.pop("definitions").items()}
        results = tuple(map(_bytes, told.pop("results")))
        frame = StoredFrame(_bytes(told.pop("frame")), definitions, results)
        if not all(isinstance(path, str) for path in told["hop"]):
            raise ValueError("its hop is no list of import paths")
        # What JSON can be read with and not written again, such as NaN, is for people to read.
        made = {"frame": frame, "hop": tuple(told["hop"]), "item": readable(told["item"])}
        return cls(**told | made)


#: Types that the fields of a line must have.
_KINDS: dict[str, Any] = {
    "item": object,
    "definitions": dict,
    "worker": (str, type(None)),
    **dict.fromkeys(("hop", "results"), list),
    **dict.fromkeys(("deaths", "attempts"), int),
    **dict.fromkeys(("frame", "reason", "error", "traceback", "spider", "time"), str),
}


class DeadLetterFile:
    """Appends letters to a file, which is open only while one is written: they are rare."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Find out whether letters can be written; leaves no empty file behind.

        Raises:
            NotPrivateError: someone else owns the file or can write to it.
            OSError: it cannot be opened.
        """
        existed = os.path.lexists(self.path)
        with opened_alone(self.path) as (descriptor, is_locked):
            # Another crawl may have written its first letter since.
            if is_locked and not existed and not os.fstat(descriptor).st_size:
                self.path.unlink()

    def add(self, letter: DeadLetter) -> None:
        """Append *letter*, in one write, so that those of two crawls never mix.

        Raises:
            OSError: it could not be written, or not wholly.
        """
        line = letter.to_json().encode() + b"\n"
        with opened_alone(self.path) as (descriptor, _):
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # what a crash or a full disk has left stays a line of its own
            if os.write(descriptor, line) < len(line):
                raise OSError(f"{self.path}: no space left for a dead letter")


class StoredLetters:
    """The letters that are in a file now, without those that crawls append later.

    The file stays open until :meth:`close`: another one that takes its name changes nothing.

    Raises:
        NotPrivateError: someone else owns the file or can write to it.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = read_private(path)
        self._end = size_at_rest(path, self._descriptor)
        self._places: dict[str, list[tuple[int, int]]] = {}  # by spider: where lines begin, length
        self.skipped = 0  #: lines that are no letters
        self._find()

    @property
    def spiders(self) -> list[str]:
        """The names of the spiders that have letters, in their order."""
        return list(self._places)

    @property
    def has_grown(self) -> bool:
        """Return whether letters have come meanwhile, which are not among these."""
        return os.fstat(self._descriptor).st_size > self._end

    def of(self, spider: str) -> Iterator[DeadLetter]:
        """The letters of a spider, read one at a time."""
        for begin, length in self._places.get(spider, ()):
            yield DeadLetter.from_json(os.pread(self._descriptor, length, begin))

    def close(self) -> None:
        os.close(self._descriptor)

    def _find(self) -> None:
        begin = 0
        with open(os.dup(self._descriptor), "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if begin >= self._end:
                    break
                if line.strip():
                    self._note(number, begin, line)
                begin += len(line)

    def _note(self, number: int, begin: int, line: bytes) -> None:
        try:
            letter = DeadLetter.from_json(line)
        except ValueError as error:
            self.skipped += 1
            why = ascii_safe(str(error))
            told = "Line %d of %s is no dead letter and is skipped: %s"
            logger.warning(told, number, self._path, why)
        else:
            self._places.setdefault(letter.spider, []).append((begin, len(line)))


def history(error: BaseException) -> dict[str, Any]:
    """Return the fields of a letter that say why the item is given up, and when: now."""
    return {
        "reason": type(error).__name__,
        "error": text_of(error),
        "traceback": formatted(error),
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    }


def readable(fields: Any) -> Any:
    """Return *fields* as JSON can hold them; a value that it cannot hold becomes its ``repr``.

    Classes of the user run their own code here, and whatever they raise, an item is to be kept.
    """
    try:
        return _through_json(fields)
    except BaseException:  # a loop, a key that is no text, not a number, or a repr that fails
        if isinstance(fields, dict):
            pairs = dict.items(fields)  # beneath its hooks
            return {_guarded(_as_text, name): _alone(value) for name, value in pairs}
        return _guarded(_as_text, fields)


def shown(item: Any) -> str:
    """Return a readable item for the log: shortened, in plain ASCII without control characters.

    A control character could end the line, or forge one; a lone surrogate cannot be written at all.
    """
    text = ascii_safe(json.dumps(item))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _through_json(value: Any) -> Any:
    described = partial(_guarded, _fields_or_text)
    return json.loads(json.dumps(value, default=described, allow_nan=False))


def _alone(value: Any) -> Any:
    """Return one field as JSON can hold it, for an item that JSON cannot hold as a whole."""
    if _guarded(_is_nested_item, value) is True:
        with suppress(BaseException):
            return _through_json(value)
    return _guarded(_as_text, value)


def _fields_or_text(value: Any) -> Any:
    from itemadapter import ItemAdapter  # late, as in changes.py

    return ItemAdapter(value).asdict() if _is_nested_item(value) else _as_text(value)


def _guarded(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except BaseException as error:
        return f"<a {type(value).__qualname__}; {type(error).__name__} while showing it>"


def _is_nested_item(value: Any) -> bool:
    from itemadapter import ItemAdapter

    return not isinstance(value, dict) and ItemAdapter.is_item(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a part of its frame is no text")
    return b64decode(text, validate=True)
