"""Files by which ``scrapy mpworkers top`` finds the pages of its user's crawls on this machine.

Whoever can read such a file has the page's token: it is private, in a private folder.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs
import psutil

from scrapy_mpworkers.errors import NotPrivateError
from scrapy_mpworkers.stores.private_files import read_private

#: By how many seconds two looks may differ on when a process began. Linux counts them from the
#: boot; elsewhere they come from a clock that is set now and then.
_TOLERANCE = 0.001 if sys.platform == "linux" else 2.0


@dataclass(frozen=True)
class Job:
    """A process with a page.

    Attributes:
        born: when the process began, in seconds, as its pid may be another's by now.
        host: the machine, as a home may be that of several.
        url: of its page, with the token.
    """

    pid: int
    born: float
    host: str
    url: str

    @property
    def is_alive(self) -> bool:
        try:
            return abs(_born(self.pid) - self.born) < _TOLERANCE
        except (psutil.Error, OSError):
            return False


def announce(url: str, port: int) -> Path:
    """Write the file of this process and its page, remove those of dead ones; return its path.

    Raises:
        NotPrivateError: others can look into the folder.
        OSError: it cannot be written.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_unless_private(folder)
    list(running())
    pid = os.getpid()
    job = Job(pid, _born(pid), socket.gethostname(), url)
    path = folder / f"{pid}-{port}.json"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)  # of a process that had this pid, and died while it wrote
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(job), file)
    new.replace(path)
    return path


def running() -> Iterator[Job]:
    """Yield the jobs of this user that are alive; remove the files of the others."""
    for path in sorted(_folder().glob("*.json")):
        job = _read(path)
        if job is None or job.host != socket.gethostname():
            continue
        if job.is_alive:
            yield job
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _born(pid: int) -> float:
    """Return when a process began, on Linux in seconds since the boot (proc(5): starttime, the 20th
    behind the name).

    psutil adds these to the boot time, which is another one whenever the clock is set: a crawl that
    goes on would be taken for dead.
    """
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _folder() -> Path:
    return platformdirs.user_state_path("scrapy-mpworkers", appauthor=False)


def _read(path: Path) -> Job | None:
    """Return what a file of this user says; ``None`` if it is not his, or gone, or not ours."""
    try:
        with open(read_private(path)) as file:
            return Job(**json.load(file))
    except (NotPrivateError, OSError, ValueError, TypeError):
        return None


def _refuse_unless_private(folder: Path) -> None:
    status = folder.lstat()
    is_own = not hasattr(os, "geteuid") or (
        status.st_uid == os.geteuid() and not status.st_mode & 0o077
    )
    if not stat.S_ISDIR(status.st_mode) or not is_own:
        raise NotPrivateError(f"{folder} is not a folder of this user alone (chmod 700 {folder})")
