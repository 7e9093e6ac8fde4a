"""The end of processes that are not our children."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterable

import psutil


def await_exits(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not in time. A zombie has ended.

    ``psutil.wait_procs`` waits on until an orphan has been reaped by whoever inherited it, which
    can take seconds where process 1 is not an init (psutil 7.2, in containers).
    """
    deadline = time.monotonic() + seconds
    return [one for one in processes if not _ends(one, max(0.0, deadline - time.monotonic()))]


def _ends(process: psutil.Process, seconds: float) -> bool:
    if not hasattr(os, "pidfd_open"):  # macOS, where launchd reaps at once
        return process in psutil.wait_procs([process], seconds)[0]
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(process.pid)
        try:
            return bool(select.select([fd], [], [], seconds)[0])
        finally:
            os.close(fd)
    return True
