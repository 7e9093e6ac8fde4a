"""Keeps an error that stops a crawl at its start to one record, without frames of Scrapy.

Nobody awaits the crawl that a command has begun: asyncio or Twisted logs its error, with all that
was on the way to it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import re

import scrapy
import twisted

from scrapy_mpworkers.errors import MPWorkersError, RemoteTraceback
from scrapy_mpworkers.wire.texts import text_of

_TOLD, _SHORT = "_is_told_by_mpworkers", "_is_short_by_mpworkers"
_FOLDERS = [*scrapy.__path__, *twisted.__path__, *asyncio.__path__, *importlib.__path__]
_FOLDERS += [os.path.dirname(os.path.dirname(__file__)), "<frozen importlib"]
_FRAME = rf'  File "(?:{"|".join(map(re.escape, _FOLDERS))}).*\n(?:    .*\n)*'
_OUTER_FRAMES = re.compile(rf"(Traceback \(most recent call last\):\n)(?:{_FRAME})+")


def keep_short(error: Exception) -> None:
    """Let an error that stops a crawl at its start be one sentence in the log, if it is ours."""
    error.__dict__[_SHORT] = True
    _listen()


def _listen() -> None:
    for name in ("asyncio", "twisted"):
        logging.getLogger(name).addFilter(_filter)


def told_once(error: Exception) -> str:
    """Keep an error that is being logged out of the log from now on.

    Returns:
        its traceback in the worker, without the frames above the user's, from a new line on.
    """
    error.__dict__[_TOLD] = True
    _listen()
    if isinstance(error.__cause__, RemoteTraceback):
        trace = _OUTER_FRAMES.sub(r"\1", error.__cause__.args[0]).rstrip()
        error.__cause__ = RemoteTraceback(f"{trace}\n") if '  File "' in trace else None
        return f"\n{trace}" if error.__cause__ else ""
    return ""


class _Filter(logging.Filter):
    """Shortens records of errors, and drops those of errors that were told."""

    _announcement: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        announcement, self._announcement = self._announcement, None
        if error is None and record.getMessage().startswith("Unhandled error in Deferred"):
            self._announcement = record  # of the next record, which has the error (Twisted to 26)
            return False
        marks = getattr(error, "__dict__", ())
        if _TOLD in marks:
            return False
        if _SHORT in marks and isinstance(error, MPWorkersError):
            record.name, record.exc_info, record.args = __name__, None, ()
            record.msg = f"The crawl cannot start: {text_of(error)}"
        elif announcement is not None:
            logging.getLogger(announcement.name).callHandlers(announcement)
        return True


_filter = _Filter()
