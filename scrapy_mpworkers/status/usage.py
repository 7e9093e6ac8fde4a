"""Reads what a process has used so far: from ``/proc`` where there is one, else by psutil.

psutil takes ten times as long, and Scrapy's thread waits for it. The files are opened each time:
kept open they would save 25 µs a process, and take three descriptors of each.
"""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple

import psutil

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


class Usage(NamedTuple):
    """The CPU and memory that a process has used since its start.

    Attributes:
        cpu: seconds that it has used a CPU.
        worked: seconds that it, and what it has started and awaited, has used a CPU, or its main
            thread has waited for one, as far as the kernel tells that.
        rss_bytes: resident memory now.
    """

    cpu: float
    worked: float
    rss_bytes: int


def usage_of(pid: int) -> Usage:
    """Return what a process has used so far.

    Raises:
        OSError: it is gone; or this process has no file descriptor left.
    """
    return _from_proc(pid) if sys.platform == "linux" else _from_psutil(pid)


def pss_of(pid: int) -> int | None:
    """Return the proportional set size of a process in bytes: resident memory, of which what it
    shares counts in part. It takes the kernel a millisecond or more, by the size of the process.

    Returns:
        ``None`` where nobody can tell.
    """
    try:
        found = _PSS.search(_read(pid, "smaps_rollup"))
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def _from_proc(pid: int) -> Usage:
    # The second field is the program's name in brackets, which may have brackets and blanks.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    ticks, pages = list(map(int, fields[11:15])), int(_read(pid, "statm").split()[1])
    per_second, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    worked = sum(ticks) / per_second + _queued(pid)
    return Usage(sum(ticks[:2]) / per_second, worked, pages * page)


def _queued(pid: int) -> float:
    """Return the seconds that a process's main thread waited for a CPU, where the kernel tells."""
    try:
        return int(_read(pid, "schedstat").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _read(pid: int, name: str) -> bytes:
    fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _from_psutil(pid: int) -> Usage:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, rss = process.cpu_times(), process.memory_info().rss
    except psutil.Error as error:
        raise OSError(str(error)) from error
    return Usage(times.user + times.system, sum(times[:4]), rss)
