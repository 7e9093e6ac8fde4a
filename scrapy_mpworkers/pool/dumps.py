"""Has a worker that is to be killed write its stacks by a signal, as no thread of it can answer.

faulthandler writes them from within the signal, also while code in C keeps the interpreter. It
reads frames that may be changing, and so can crash a worker that works: none is asked in this way
but one whose time is up. (Linux.)
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.wire.messages import STACKS_FILE

#: Seconds between two looks at what has been written.
_BLINK = 0.01
_CHARACTERS = 1 << 14  # that are read
_LINK = f"/memfd:{STACKS_FILE} (deleted)"
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?+) in (.*)$')
_OURS = "/scrapy_mpworkers/worker/"


def dump(loop: Loop, pid: int, seconds: float, told: Callable[[str], None]) -> None:
    """Call *told* within so many seconds with the stacks of a process, or why there are none."""
    why, file = _why_not(pid), -1
    if not why and (file := _file_of(pid)) < 0:
        why = "the process has no file for it"
    if why:
        told(f"no stack, because {why}")
        return
    writing = _Writing(loop, file, monotonic() + seconds, told)
    # This very process, not its group, and nothing else with its number: it has our file.
    with suppress(OSError):  # it is gone by now, or belongs to another user
        os.kill(pid, signal.SIGURG)
    writing.look()


def _why_not(pid: int) -> str:
    """Return why a signal would be of no use; nothing, if it may be."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return why_deaf(file)
    except OSError as error:
        return f"the process cannot be looked at ({error.strerror})"


def why_deaf(lines: Iterable[bytes]) -> str:
    """Return why a process of this ``/proc/PID/status`` takes no signal; nothing, if it may."""
    status = dict(line.split(b":\t", 1) for line in lines if b":\t" in line)
    if status.get(b"State", b"").startswith((b"T", b"t")):
        return "the process is stopped"
    # gVisor does not list it. The signal is ignored then, if there is no handler.
    caught = status.get(b"SigCgt")
    if caught is not None and not int(caught, 16) >> (signal.SIGURG - 1) & 1:
        return "the process has no handler of SIGURG any more"
    return ""


def _file_of(pid: int) -> int:
    """Open the file that a worker's handler writes to, unless the worker has closed it: after that
    its number may be that of a file of the user's."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):  # closed meanwhile
                if os.readlink(f"{folder}/{name}") == _LINK:
                    return os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return -1


class _Writing:
    """Waits until a dump has been written: its size has come to rest, and the user's is in it."""

    def __init__(self, loop: Loop, file: int, due: float, told: Callable[[str], None]) -> None:
        self._loop = loop
        self._file = file
        self._due = due
        self._told = told
        self._begin = self._size = os.fstat(file).st_size

    def look(self) -> None:
        last, self._size = self._size, os.fstat(self._file).st_size
        text = ""
        is_over = monotonic() >= self._due
        if is_over or self._size == last != self._begin:
            dumped = os.pread(self._file, _CHARACTERS, self._begin)
            text = readable(dumped.decode("ascii", "backslashreplace"))
        if is_over or text:
            os.close(self._file)
            self._told(text or "no stack, because the process did not write it in time")
        else:
            self._loop.call_later(_BLINK, self.look)


def readable(dumped: str) -> str:
    """Return a dump of faulthandler with the last call last, without what is not the user's."""
    blocks = re.split(r"^(?=(?:Current t|T)hread )", dumped, flags=re.MULTILINE)
    return "\n".join(filter(None, map(_block, blocks)))


def _block(text: str) -> str:
    title, *lines = text.splitlines() or [""]
    found = [match.groups() for line in lines if (match := _FRAME.match(line))]
    ours = [n for n, (path, *_) in enumerate(found) if _OURS in path]
    is_main = any(found[n][0].endswith("worker/main.py") for n in ours)
    if not found or (ours and not is_main):
        return ""  # a thread of ours
    theirs = found[: ours[0]] if ours else found
    shown = [f'  File "{path}", line {line}, in {name}' for path, line, name in reversed(theirs)]
    return "\n".join([title.partition(" (")[0] + ":", *shown])
