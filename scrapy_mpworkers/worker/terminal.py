"""Refuses what needs a terminal, which a worker does not have: debuggers and ``input()``."""

from __future__ import annotations

import io
import sys
from typing import Any, NoReturn

from scrapy_mpworkers.errors import NotInWorkerError


def leave_terminal() -> None:
    """Let this process refuse to ask somebody; an end of file would make debuggers give up."""
    sys.breakpointhook = no_debugger
    if sys.stdin is not None:
        raw = io.FileIO(sys.stdin.fileno(), closefd=False)  # the null device
        sys.stdin = _NoText(_NoBytes(raw), encoding="utf-8")


def no_debugger(*args: Any, **kwargs: Any) -> NoReturn:
    """Stand in the place of ``sys.breakpointhook``."""
    _refuse("breakpoint()")


def _refuse(what: str) -> NoReturn:
    raise NotInWorkerError(
        f"{what} cannot work in a worker, which has no terminal. Run pipelines and "
        "callbacks in Scrapy's own process: scrapy crawl ... -s MPWORKERS_WORKERS=0"
    )


def _no_reading(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("What reads sys.stdin (pdb, input(), a shell)")


class _NoBytes(io.BufferedReader):
    """Stands in the place of ``sys.stdin.buffer``."""

    read = read1 = readinto = readinto1 = readline = readlines = peek = _no_reading
    __next__ = _no_reading


class _NoText(io.TextIOWrapper):
    """Stands in the place of ``sys.stdin``, which can be asked for all but its text."""

    read = readline = readlines = __next__ = _no_reading
