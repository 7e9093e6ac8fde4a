"""WORKER SIDE: tasks that finish, but break what their worker needs to report or to go on."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scrapy_mpworkers.worker.main import Worker


@dataclass(frozen=True)
class Counted:
    """Does it, and counts in a file how often: a byte each time."""

    path: str
    deed: Callable[[], Any]

    def __call__(self) -> Any:
        fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(fd, b".")
        os.close(fd)
        return self.deed()


@dataclass(frozen=True)
class ClosesAllFiles:
    def __call__(self) -> None:
        os.closerange(3, 256)


@dataclass(frozen=True)
class ClosesReports:
    def __call__(self) -> None:
        os.close(_reports())


@dataclass(frozen=True)
class ClosesReportsAndIsSlow:
    """Closes them, and lets the time for its outcome pass while a later task is at work."""

    def __call__(self) -> None:
        os.close(_reports())
        _slow_down()


@dataclass(frozen=True)
class ClosesOrders:
    def __call__(self) -> None:
        os.close(_worker()._commands.fd)


@dataclass(frozen=True)
class PutsFileInPlaceOfAll:
    """As a daemon does: it closes all, and opens its own, which get the numbers of ours."""

    path: str

    def __call__(self) -> None:
        # Under fork it has what pytest has put there, a file with a number among those below.
        sys.stderr = sys.__stderr__
        os.closerange(3, 256)
        for _ in range(60):
            os.open(self.path, os.O_CREAT | os.O_RDWR)


@dataclass(frozen=True)
class SendsReportsNowhere:
    def __call__(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _reports())
        os.close(nowhere)


@dataclass(frozen=True)
class WritesIntoReports:
    data: bytes

    def __call__(self) -> None:
        os.write(_reports(), self.data)


#: What looks like a large report that never is complete: all behind it is taken for its rest.
ENDLESS_REPORT = struct.pack("!i", 1 << 30) + b"\x80\x05"


@dataclass(frozen=True)
class ExitsSoon:
    """The process ends after the task has."""

    seconds: float

    def __call__(self) -> None:
        threading.Timer(self.seconds, os._exit, (4,)).start()


@dataclass(frozen=True)
class AllowsNoFiles:
    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


@dataclass(frozen=True)
class EndsThreads:
    """Raises SystemExit in all threads but this one."""

    def __call__(self) -> None:
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
                )


@dataclass(frozen=True)
class ReturnsTwice:
    """Forks, and neither process knows which one it is."""

    def __call__(self) -> None:
        os.fork()


def _worker() -> Worker:
    (worker,) = (one for one in gc.get_objects() if type(one) is Worker)
    return worker


def _reports() -> int:
    return _worker()._reporter._reports.fileno()  # type: ignore[union-attr]


def _slow_down() -> None:
    # The next task of this worker, whatever it is, takes long.
    worker = _worker()
    (consumers,) = worker._crawls._consumers.values()
    consume = consumers.consume

    async def slowly(task: Any) -> Any:
        time.sleep(0.2)
        return await consume(task)

    consumers.consume = slowly  # type: ignore[method-assign]
