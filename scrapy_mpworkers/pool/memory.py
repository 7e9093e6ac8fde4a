"""What the kernel says of memory: how much a worker holds, and whether it killed for want of it."""

from __future__ import annotations

from pathlib import Path

import psutil

#: Linux 4.13 and newer: counts every process that was killed because memory ran out.
_VMSTAT = Path("/proc/vmstat")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):  # this process may have no file descriptor left
        return 0


class OutOfMemoryKills:
    """Notices that the kernel has killed a process, anyone's, since the last look."""

    def __init__(self, vmstat: Path = _VMSTAT) -> None:
        self._vmstat = vmstat
        self._seen = self._count()

    def any_since_last_look(self) -> bool:
        """Whether there was one. False where the kernel does not tell."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._vmstat.read_text().splitlines()
        except OSError:
            return 0
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        return counts[0] if counts else 0
