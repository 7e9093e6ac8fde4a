"""Measures CPU and memory of worker processes, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple

import psutil

#: Seconds for which a sample holds.
EVERY = 5.0
#: Samples that one call takes: each costs about 50 µs.
_AT_ONCE = 8


class Sample(NamedTuple):
    """CPU and memory of a process. ``cpu_percent``: since the sample before, 100 for one CPU;
    ``pss_bytes``: resident memory, of which what it shares counts in part; ``worked``: seconds that
    it, and what it has started and awaited, has used a CPU, or its main thread has waited for one;
    ``at``: when the sample was taken, ``time.monotonic()``."""

    at: float
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    worked: float | None = None


def _queued(pid: int) -> float:
    """Return the seconds that a process's main thread waited for a CPU, where the kernel tells."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Processes:
    """Samples worker processes, each every five seconds at most, and only while somebody looks."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._samples: dict[int, Sample] = {}

    def look(self, pids: Iterable[int], with_pss: bool = False) -> dict[int, Sample]:
        """Return the last sample of each process that has one.

        Args:
            with_pss: measure proportional set sizes as well, of one process a call: that takes the
                kernel about a millisecond.
        """
        now, wanted = monotonic(), set(pids)
        for gone in self._processes.keys() - wanted:
            del self._processes[gone]
            self._samples.pop(gone, None)
        due = [pid for pid in wanted if now - self._at(pid) >= EVERY]
        due.sort(key=self._at)
        for pid in due[:_AT_ONCE]:
            self._sample(pid, now, with_pss and pid == due[0])
        return {pid: self._samples[pid] for pid in wanted if pid in self._samples}

    def _at(self, pid: int) -> float:
        return self._samples[pid].at if pid in self._samples else -EVERY

    def _sample(self, pid: int, now: float, with_pss: bool) -> None:
        is_new = pid not in self._processes
        before = self._samples.get(pid, Sample(now))
        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            with process.oneshot():
                percent, memory = process.cpu_percent(), process.memory_info().rss
                worked = sum(process.cpu_times()[:4]) + _queued(pid)
            # Not everywhere, and not of everybody's processes.
            pss = process.memory_full_info().pss if with_pss and psutil.LINUX else before.pss_bytes
        except (psutil.Error, OSError):  # gone; or this process has no file descriptor left
            self._samples[pid] = Sample(now)
            return
        self._samples[pid] = Sample(now, None if is_new else percent, memory, pss, worked)
