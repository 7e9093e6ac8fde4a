"""Measures CPU and memory of worker processes, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic, thread_time
from typing import NamedTuple

from scrapy_mpworkers.status.usage import pss_of, usage_of

#: Seconds for which a sample holds.
EVERY = 5.0
#: Samples that one call takes: each costs 35 to 60 µs.
_AT_ONCE = 8
#: A proportional set size is followed by a pause of so many times what it took: 0.02 % of a CPU.
_REST = 5_000


class Sample(NamedTuple):
    """CPU and memory of a process. ``cpu_percent``: since the sample before, 100 for one CPU;
    ``pss_bytes``: resident memory, of which what it shares counts in part, when that was measured
    last; ``worked``, ``cpu``: as :class:`Usage` has them; ``at``: when the sample was taken,
    ``time.monotonic()``."""

    at: float
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    worked: float | None = None
    cpu: float | None = None


class Processes:
    """Samples worker processes, each every five seconds at most, and only while somebody looks."""

    def __init__(self) -> None:
        self._samples: dict[int, Sample] = {}
        self._pss_at: dict[int, float] = {}
        self._rests_until = 0.0

    def look(self, pids: Iterable[int], with_pss: bool = False) -> Mapping[int, Sample]:
        """Return the last sample of each process that has one.

        Args:
            with_pss: also measure the proportional set size of one process at most, and not in
                every call, because it takes the kernel milliseconds.
        """
        now, wanted = monotonic(), set(pids)
        for gone in self._samples.keys() - wanted:
            del self._samples[gone]
            self._pss_at.pop(gone, None)
        due = sorted((pid for pid in wanted if now - self._at(pid) >= EVERY), key=self._at)
        for pid in due[:_AT_ONCE]:
            self._samples[pid] = _sampled(pid, now, self._samples.get(pid, Sample(now)))
        if with_pss and self._samples and now >= self._rests_until:
            self._measure_pss(now)
        return self._samples

    def _at(self, pid: int) -> float:
        return self._samples[pid].at if pid in self._samples else -EVERY

    def _measure_pss(self, now: float) -> None:
        """Measure the process for which that is longest ago."""
        pid, began = min(self._samples, key=lambda pid: self._pss_at.get(pid, 0.0)), thread_time()
        self._samples[pid] = self._samples[pid]._replace(pss_bytes=pss_of(pid))
        self._pss_at[pid] = now
        self._rests_until = now + _REST * (thread_time() - began)


def _sampled(pid: int, now: float, before: Sample) -> Sample:
    try:
        used = usage_of(pid)
    except OSError:  # gone; or this process has no file descriptor left
        return Sample(now)
    percent = None if before.cpu is None else 100 * (used.cpu - before.cpu) / (now - before.at)
    return Sample(now, percent, used.rss_bytes, before.pss_bytes, used.worked, used.cpu)
