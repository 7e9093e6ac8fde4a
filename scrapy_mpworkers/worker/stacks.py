"""Tells where the threads and the asyncio tasks of a worker are.

Without lines of source: to read them would take several turns of the interpreter, and each may be
5 ms late in a worker whose other thread computes.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, NamedTuple

from scrapy_mpworkers.wire.messages import AT_WORK
from scrapy_mpworkers.wire.texts import ascii_safe

#: Frames of one stack, the innermost; characters of all.
_FRAMES, _CHARACTERS = 40, 1 << 14

_PACKAGE = __name__.partition(".")[0]
#: Modules of ours: their frames, and the frames outside of them, are left out.
_OURS = (f"{_PACKAGE}.worker.", f"{_PACKAGE}.backends.")
#: A thread that has frames of these packages only is idle, and is left out.
_IDLE = ("asyncio", "selectors")


class _Spot(NamedTuple):
    """One frame: its code, its line, its module."""

    code: CodeType
    line: int
    module: str


def stacks_of(threads: Iterable[threading.Thread], loop: asyncio.AbstractEventLoop) -> str:
    """Return the stacks of *threads* and of the tasks that wait in *loop*, the last call last.

    Called in a thread beside them. An asyncio task that waits has no place in a thread's stack,
    which shows the loop only.
    """
    frames = sys._current_frames()
    found = [
        (_title(thread), list(_of_thread(frames.get(thread.ident or 0)))) for thread in threads
    ]
    for task in asyncio.all_tasks(loop):
        coroutine: Any = task.get_coro()
        if not getattr(coroutine, "cr_running", False):  # else the thread's stack has it
            found.append((f"{task.get_name()} awaits", list(_of_coroutine(coroutine))))
    texts = [_text(title, spots) for title, spots in found]
    return "\n".join(filter(None, texts))[:_CHARACTERS]


def _title(thread: threading.Thread) -> str:
    # Whatever the user calls it: the parent sees by this that the worker is at work.
    is_main = thread is threading.main_thread()
    return AT_WORK.removesuffix(":") if is_main else f"Thread {thread.name}"


def all_threads() -> list[threading.Thread]:
    """Return the threads of this process that are not ours: the main one is the first."""
    return [one for one in threading.enumerate() if not one.name.startswith("mpworkers-")]


def _of_thread(frame: Any) -> Iterator[_Spot]:
    inside_out = []
    while frame is not None:
        inside_out.append(_spot(frame))
        frame = frame.f_back
    return reversed(inside_out)


def _of_coroutine(awaited: Any) -> Iterator[_Spot]:
    while awaited is not None:
        frames = (getattr(awaited, f"{kind}_frame", None) for kind in ("cr", "gi", "ag"))
        frame: Any = next(filter(None, frames), None)
        if frame is None:
            return  # a future, or something that is written in C
        yield _spot(frame)
        inner = (getattr(awaited, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
        awaited = next(filter(None, inner), None)


def _spot(frame: Any) -> _Spot:
    return _Spot(frame.f_code, frame.f_lineno or 0, str(frame.f_globals.get("__name__")))


def _text(title: str, spots: list[_Spot]) -> str:
    ours = [n for n, spot in enumerate(spots) if spot.module.startswith(_OURS)]
    spots = spots[ours[-1] + 1 if ours else 0 :][-_FRAMES:]
    if all(spot.module.partition(".")[0] in _IDLE for spot in spots):
        return ""
    lines = [
        f'  File "{code.co_filename}", line {line}, in {getattr(code, "co_qualname", code.co_name)}'
        for code, line, _ in spots
    ]
    return "\n".join(map(ascii_safe, [f"{title}:", *lines]))
