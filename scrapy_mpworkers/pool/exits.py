"""Learns of the ends of worker processes."""

from __future__ import annotations

import os
import select
from multiprocessing import connection, forkserver
from pathlib import Path
from time import monotonic

from scrapy_mpworkers.errors import UNKNOWN_EXIT
from scrapy_mpworkers.pool import unshared

#: "Exit code" of a worker whose fork server died. multiprocessing says 255, which a worker can
#: say too.
SERVER_GONE = 1 << 16

#: Seconds that a server may take to tell of a worker that is dead.
_SILENCE = 1.0

#: Linux 4.13 and newer: counts every process that was killed because memory ran out.
_VMSTAT = Path("/proc/vmstat")


class ExitNotice:
    """Tells of the death of a worker, or of its server.

    A server that is stopped or stuck does not tell the exit code on its pipe. On Linux from 5.3 on
    there is a handle for the process itself, too; an epoll object joins both.

    Attributes:
        fds: to be closed at the end. The first one becomes readable; without any the pipe does.
    """

    def __init__(self, pid: int, status_r: int) -> None:
        self.pid = pid
        self._status_r = status_r
        self._silent_since: float | None = None
        self.fds = _handles(pid, status_r)
        self._first = self.fds[:1] or [status_r]

    def wait(self, timeout: float | None) -> int | None:
        """Wait for the exit code, 0 seconds or until it is there."""
        while connection.wait(self._first, timeout):
            code = self._code()
            if code is not None or timeout == 0:
                return code
            connection.wait([self._status_r], _SILENCE)
        return None

    def _code(self) -> int | None:
        if connection.wait([self._status_r], 0):
            try:
                return int(forkserver.read_signed(self._status_r))
            except (OSError, EOFError):
                # The server holds the other end, and it is gone without a word.
                return SERVER_GONE
        if self._silent_since is None:
            self._silent_since = monotonic()
        if monotonic() - self._silent_since < _SILENCE:
            return None
        return _code_of_zombie(self.pid)


def _handles(pid: int, status_r: int) -> list[int]:
    """Return an epoll object over the process and the pipe, and a handle for the process; none
    where there is no such thing, and the pipe has to do."""
    made: list[int] = []
    try:
        made.append(unshared.keep(os.pidfd_open(pid)))
        with select.epoll() as both:
            both.register(made[0], select.EPOLLIN)
            both.register(status_r, select.EPOLLIN)
            # A duplicate: a forked process closes this one, and the object would close it again.
            made.insert(0, unshared.keep(os.dup(both.fileno())))
    except (AttributeError, OSError):  # not Linux; an old kernel, a sandbox, too many open files
        unshared.close(*made)
        return []
    return made


def _code_of_zombie(pid: int) -> int:
    """Return the exit code of a dead process that its parent has not collected: the last field of
    ``/proc/PID/stat`` (proc(5): exit_code, the 50th behind the name)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return UNKNOWN_EXIT  # collected, by a server that could not tell us any more
    return os.waitstatus_to_exitcode(int(fields[49])) if fields[0] == b"Z" else UNKNOWN_EXIT


class OutOfMemoryKills:
    """Notices that the kernel has killed a process, anyone's, since the last look."""

    def __init__(self, vmstat: Path = _VMSTAT) -> None:
        self._vmstat = vmstat
        self._seen = self._count()

    def any_since_last_look(self) -> bool:
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._vmstat.read_text().splitlines()
        except OSError:
            return 0
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        return counts[0] if counts else 0
