"""WORKER SIDE of the pool's tests: harmless work, and how it talks with the test.

A worker and its test talk through named pipes: nothing to inherit, whatever the start method.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import importlib
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Square:
    number: int

    def __call__(self) -> int:
        return self.number**2


@dataclass(frozen=True)
class ComputesAfterwards:
    """Has the loop compute for so long when the task is done, as if it stored what was buffered;
    then it writes its pid into a file."""

    seconds: float
    path: str
    begun: Any

    def __call__(self) -> None:
        asyncio.get_running_loop().call_soon(self._compute)

    def _compute(self) -> None:
        self.begun()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
        Path(self.path).write_text(str(os.getpid()))


@dataclass(frozen=True)
class Pid:
    def __call__(self) -> int:
        return os.getpid()


@dataclass(frozen=True)
class TrackersOfItsOwn:
    """How many resource trackers a worker has started that makes what needs one."""

    def __call__(self) -> int:
        multiprocessing.Lock()  # its semaphore is tracked until it is unlinked, at once
        with contextlib.closing(SharedMemory(create=True, size=1)) as memory:
            memory.unlink()
        children = psutil.Process().children(recursive=True)
        return sum("resource_tracker" in str(child.cmdline()) for child in children)


@dataclass(frozen=True)
class UsesForkServer:
    """The exit code of a process that CPython's fork server has started for a worker."""

    def __call__(self) -> int | None:
        process = multiprocessing.get_context("forkserver").Process(target=os.getpid)
        process.start()
        process.join()
        return process.exitcode


@dataclass(frozen=True)
class CountCollectable:
    """How many objects a full collection looks at."""

    def __call__(self) -> int:
        return len(gc.get_objects())


@dataclass(frozen=True)
class Fail:
    def __call__(self) -> None:
        raise ValueError("as ordered")


@dataclass(frozen=True)
class Company:
    """How many tasks run together with this one, itself included."""

    def __call__(self) -> int:
        from .consumers import company

        return company[-1]


@dataclass(frozen=True)
class Environment:
    name: str

    def __call__(self) -> str | None:
        return os.environ.get(self.name)


@dataclass(frozen=True)
class Niceness:
    def __call__(self) -> int:
        return os.nice(0)


@dataclass(frozen=True)
class IsImported:
    module: str

    def __call__(self) -> bool:
        return self.module in sys.modules


@dataclass(frozen=True)
class Import:
    module: str

    def __call__(self) -> bool:
        importlib.import_module(self.module)
        return True


@dataclass(frozen=True)
class Bytes:
    """Makes a result of *size* bytes."""

    size: int

    def __call__(self) -> bytes:
        return bytes(self.size)


@dataclass(frozen=True)
class Carry:
    """Brings a frame of some size along."""

    ballast: bytes

    def __call__(self) -> int:
        return len(self.ballast)


@dataclass(frozen=True)
class Digest:
    """The same, and tells whether it has come as it was."""

    ballast: bytes

    def __call__(self) -> str:
        return hashlib.sha256(self.ballast).hexdigest()


@dataclass(frozen=True)
class Say:
    """Writes a line to the test."""

    path: str
    text: str = "here"

    def __call__(self) -> None:
        with open(self.path, "w") as pipe:
            pipe.write(f"{self.text} {os.getpid()}\n")


@dataclass(frozen=True)
class Print:
    """Writes to the worker's own stderr."""

    text: str

    def __call__(self) -> None:
        os.write(2, self.text.encode())


@dataclass(frozen=True)
class SayAndWait:
    """Says that it runs, then goes on when the test opens the gate."""

    said: str
    gate: str
    text: str = "running"

    def __call__(self) -> int:
        Say(self.said, self.text)()
        with open(self.gate, "rb", buffering=0) as gate:
            gate.read(1)
        return os.getpid()


_turns = 0


@dataclass(frozen=True)
class TurnsOfMyTask:
    """How often an asyncio task of its own has had its turn; the first one starts it."""

    def __call__(self) -> int:
        if not _turns:
            asyncio.ensure_future(_count_turns())
        return _turns


async def _count_turns() -> None:
    global _turns
    while True:
        _turns += 1
        await asyncio.sleep(0)


@dataclass(frozen=True)
class InTurn:
    """Does one thing after the other; the result is that of the last."""

    steps: tuple[Any, ...]

    def __call__(self) -> Any:
        result = None
        for step in self.steps:
            result = step()
        return result


@dataclass(frozen=True)
class Parts:
    """Does one thing after the other; the result of each is a part. Tells when it is closed."""

    path: str
    steps: tuple[Any, ...]

    def __call__(self) -> Any:
        try:
            for step in self.steps:
                yield step()
        finally:
            Say(self.path, "closed")()


@dataclass(frozen=True)
class Slowly:
    """Takes so many seconds for a number."""

    number: int
    seconds: float

    def __call__(self) -> int:
        time.sleep(self.seconds)
        return self.number


@dataclass(frozen=True)
class FirstTime:
    """Does it only if nobody has done it before: *mark* is a file that must not exist yet."""

    mark: str
    deed: Any
    otherwise: Any = None

    def __call__(self) -> Any:
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return self.otherwise() if self.otherwise is not None else "not the first time"
        return self.deed()


@dataclass(frozen=True)
class TakeSeconds:
    seconds: float

    def __call__(self) -> None:
        time.sleep(self.seconds)


@dataclass(frozen=True)
class StartSleep:
    """Starts a subprocess that would outlive everything, and says its pid."""

    said: str

    def __call__(self) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        with open(self.said, "w") as pipe:
            pipe.write(f"child {child.pid}\n")


@dataclass(frozen=True)
class ForkChild:
    """Forks a process by multiprocessing that would outlive everything, and says its pid."""

    said: str

    def __call__(self) -> None:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=time.sleep, args=(1000,), daemon=True)
        child.start()
        with open(self.said, "w") as pipe:
            pipe.write(f"child {child.pid}\n")


@dataclass(frozen=True)
class UsePool:
    """As a pipeline that uses multiprocessing itself would."""

    numbers: tuple[int, ...]

    def __call__(self) -> list[int]:
        with multiprocessing.Pool(2) as pool:
            return pool.map(_square, self.numbers)


@dataclass(frozen=True)
class TerminateOwnChild:
    """The exit code of an own subprocess that is sent a SIGTERM."""

    def __call__(self) -> int:
        child = subprocess.Popen(["sleep", "1000"])
        child.terminate()
        return child.wait(timeout=20)


def _square(number: int) -> int:
    return number**2


def fork_natively() -> int:
    """Fork as native code does it. The child runs on, with the one thread that it has."""
    return int(ctypes.PyDLL(None).fork())


def live_on(path: str) -> None:
    """What a forked child of the parent does: it has no end."""
    Say(path, "heir")()
    while True:
        ctypes.PyDLL(None).pause()
