"""Explains why a worker could not be started: what is short or forbidden, and what to do.

"Shortage" is what may be over soon; everything else fails again however often it is tried.
"""

from __future__ import annotations

import errno
import os
import resource
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Lock

from scrapy_mpworkers.errors import WorkerStartError

_FILES = (errno.EMFILE, errno.ENFILE)
_MEMORY = (errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC)
#: A fork server that has just been killed, for one.
_SERVER = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ENOENT)

_WITHOUT_WORKERS = "run the pipelines in Scrapy's own process: -s MPWORKERS_WORKERS=0"


def is_shortage(error: BaseException) -> bool:
    """Return whether a start that has failed with *error* may succeed later."""
    # RuntimeError: "can't start new thread", which has no errno.
    if isinstance(error, (EOFError, MemoryError, RuntimeError)):
        return True
    number = getattr(error, "errno", None)
    return isinstance(error, OSError) and number in (*_FILES, *_MEMORY, *_SERVER, errno.EAGAIN)


def in_words(error: BaseException) -> str:
    """Return the cause of a start that has failed, and the limit that it met."""
    if isinstance(error, WorkerStartError):
        return str(error)
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else repr(error)
    if isinstance(error, EOFError):
        return "its fork server, or it itself, ended while it was started"
    files, processes = _limit(resource.RLIMIT_NOFILE), _limit(resource.RLIMIT_NPROC)
    causes = {
        errno.EMFILE: f"this process may have {files} (ulimit -n)",
        errno.EAGAIN: f"this user may have {processes} processes (ulimit -u), and a container "
        "fewer",
        errno.ENOSPC: "/dev/shm has to hold the semaphores of workers",
    }
    cause = causes.get(getattr(error, "errno", None) or 0)
    if cause is not None:
        return f"{text}: {cause}"
    return text if text in repr(error) or text == repr(error) else f"{text} ({error!r})"


def remedy(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, WorkerStartError):
        return f"Or {_WITHOUT_WORKERS}"
    if number in _FILES or number == errno.EAGAIN:
        return f"Raise that limit, lower MPWORKERS_WORKERS, or {_WITHOUT_WORKERS}"
    return f"See the log above for its cause, or {_WITHOUT_WORKERS}"


def make_lock(context: BaseContext) -> Lock:
    """Make a lock between processes.

    Raises:
        OSError: there is a shortage.
        WorkerStartError: this system has no such thing.
    """
    try:
        return context.Lock()
    except (ImportError, OSError) as error:
        if is_shortage(error) and not isinstance(error, FileNotFoundError):
            raise
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise WorkerStartError(
            f"workers need POSIX semaphores, and this system gives none ({cause}): they are files "
            "in /dev/shm, which must be there and writable. Mount a tmpfs on it (docker run "
            "--tmpfs /dev/shm, or a volume of medium Memory)"
        ) from error


def _limit(which: int) -> str:
    soft, _ = resource.getrlimit(which)
    return "any number of" if soft == resource.RLIM_INFINITY else f"{soft}"
