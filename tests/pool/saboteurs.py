"""WORKER SIDE: one class for each way to break a worker."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scrapy_mpworkers.worker import channel

from .work import ForkChild, InTurn


@dataclass(frozen=True)
class KillsItself:
    """As the kernel does when memory runs out."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class ExitsQuietly:
    def __call__(self) -> None:
        os._exit(0)


@dataclass(frozen=True)
class ExitsWithCode:
    code: int

    def __call__(self) -> None:
        os._exit(self.code)


@dataclass(frozen=True)
class Segfaults:
    def __call__(self) -> None:
        ctypes.string_at(0)


@dataclass(frozen=True)
class Aborts:
    def __call__(self) -> None:
        os.abort()


class DiesWhenUnpickled:
    def __reduce__(self) -> Any:
        return os._exit, (7,)


@dataclass(frozen=True)
class ReturnsWhatDiesWhenPickled:
    def __call__(self) -> Any:
        return _DiesWhenPickled()


class _DiesWhenPickled:
    def __reduce__(self) -> Any:
        os._exit(8)


@dataclass(frozen=True)
class ReturnsUnpicklable:
    def __call__(self) -> Any:
        return lambda: None


@dataclass(frozen=True)
class DiesInItsDestructor:
    def __call__(self) -> None:
        _DiesInDel()


class _DiesInDel:
    def __del__(self) -> None:
        os._exit(9)


@dataclass(frozen=True)
class HoldsTheInterpreter:
    """Native code that never lets a Python thread run."""

    said: str

    def __call__(self) -> None:
        with open(self.said, "w") as pipe:
            pipe.write(f"holding {os.getpid()}\n")
        ctypes.PyDLL(None).sleep(1000)


@dataclass(frozen=True)
class HalfReport:
    """The next report stops in its middle: *signum* hits the worker there."""

    signum: int
    size: int

    def __call__(self) -> bytes:
        whole = channel.write_pieces

        def write_pieces(fd: int, pieces: Sequence[bytes]) -> None:
            channel.write_pieces = whole
            message = b"".join(pieces)
            middle = len(message) // 2
            _write(fd, message[:middle])
            os.kill(os.getpid(), signum)
            _write(fd, message[middle:])

        signum = self.signum
        channel.write_pieces = write_pieces
        return bytes(self.size)


@dataclass(frozen=True)
class DiesAfterItsReport:
    """The worker is killed when its next report has been sent, before it takes another task."""

    def __call__(self) -> str:
        whole = channel.write_pieces

        def write_pieces(fd: int, pieces: Sequence[bytes]) -> None:
            whole(fd, pieces)
            os.kill(os.getpid(), signal.SIGKILL)

        channel.write_pieces = write_pieces
        return "sent"


@dataclass(frozen=True)
class KillsSiblings:
    """Kills all other workers, those that replace them later on excepted."""

    pids: tuple[int, ...]

    def __call__(self) -> int:
        for pid in self.pids:
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return os.getpid()


@dataclass(frozen=True)
class LoopsInPython:
    """Says its pid, and loops for ever."""

    said: str

    def __call__(self) -> None:
        _say(self.said)
        while True:
            pass


@dataclass(frozen=True)
class LoopsInC:
    """A regular expression that backtracks for ages, and holds the interpreter meanwhile."""

    said: str

    def __call__(self) -> None:
        _say(self.said)
        re.match(r"(a+)+$", "a" * 64 + "b")


@dataclass(frozen=True)
class Sums(LoopsInPython):
    """Is in one call of a builtin for ages, which holds the interpreter."""

    def __call__(self) -> None:
        _say(self.said)
        sum(range(1 << 60))


@dataclass(frozen=True)
class Compresses(LoopsInPython):
    """Is in C for most of the time, which lets other threads run."""

    def __call__(self) -> None:
        _say(self.said)
        data = os.urandom(1 << 24)
        while True:
            zlib.compress(data)


@dataclass(frozen=True)
class Deadlocks(LoopsInPython):
    """Waits in C for a lock that it has itself, and holds the interpreter."""

    def __call__(self) -> None:
        _say(self.said)
        lock = ctypes.create_string_buffer(64)
        for _ in range(2):
            ctypes.PyDLL(None).pthread_mutex_lock(lock)


@dataclass(frozen=True)
class WaitsForASignal(LoopsInPython):
    """Waits in C for any signal, holds the interpreter, and is done then."""

    def __call__(self) -> str:
        _say(self.said)
        ctypes.PyDLL(None).pause()
        return "done"


@dataclass(frozen=True)
class Handles:
    """Has a handler of its own for the signal that asks for stacks: one in Python, or none."""

    ignores: bool

    def __call__(self) -> None:
        signal.signal(signal.SIGURG, signal.SIG_IGN if self.ignores else lambda *_: None)


@dataclass(frozen=True)
class Awaits:
    """Awaits what never comes, in a coroutine of a coroutine."""

    said: str

    async def __call__(self) -> None:
        _say(self.said)
        await self.deeper()

    async def deeper(self) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Sleeps:
    said: str

    def __call__(self) -> None:
        _say(self.said)
        time.sleep(1000)


@dataclass(frozen=True)
class Grows:
    """Keeps *size* bytes more."""

    size: int

    def __call__(self) -> int:
        _kept.append(bytearray(b"x") * self.size)
        return os.getpid()


_kept: list[bytearray] = []


@dataclass(frozen=True)
class NeverOpens:
    """Hangs while it is opened."""

    def __call__(self) -> None:
        while True:
            signal.pause()


@dataclass(frozen=True)
class HangsIfThere:
    """Hangs while the file is there."""

    path: str

    def __call__(self) -> None:
        while os.path.exists(self.path):
            signal.sigtimedwait([], 0.01)


@dataclass(frozen=True)
class HangsTheFirstTime:
    """Hangs in the worker that makes the file."""

    path: str

    def __call__(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
            while True:
                signal.pause()


@dataclass(frozen=True)
class HangsInBuild(HangsIfThere):
    """Hangs earlier, while what it is part of is unpickled."""

    def __reduce__(self) -> Any:
        return hang_if_there, (self.path,)


def hang_if_there(path: str) -> HangsIfThere:
    found = HangsIfThere(path)
    found()
    return found


@dataclass(frozen=True)
class RaisesAtBoot:
    def __call__(self) -> None:
        raise RuntimeError("this consumer cannot be opened")


@dataclass(frozen=True)
class ImmuneToPolitenessAndStuck:
    """Does not come back, and SIGTERM does not reach it."""

    said: str

    def __call__(self) -> None:
        with open(self.said, "w") as pipe:
            pipe.write(f"stuck {os.getpid()}\n")
        while True:
            signal.pause()


def _say(path: str) -> None:
    with open(path, "w") as pipe:
        pipe.write(f"running {os.getpid()}\n")


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def dies_beside_its_child(bench: Any) -> Exception:
    """Let a worker kill itself whose forked child lives on; return how its task ended.

    The child has copies of all that the worker had open: pipes do not tell of the death.
    """
    (poisonous,) = bench.submit(InTurn((ForkChild(bench.voice.path), KillsItself())))
    (child,) = bench.until_said("child")
    try:
        bench.until_settled()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    error: Exception = bench.error(poisonous)
    return error
