"""Files that hold pickles. Whoever can write to one can run code as the user who reads it.

Several crawls may use the same file. It is looked at, written and removed under a lock, through a
descriptor, and only while its name still stands for the file that is open.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scrapy_mpworkers.errors import NotPrivateError

if sys.platform != "win32":
    import fcntl

#: Seconds in which whoever has a lock should have written his line; he may have been stopped.
_PATIENCE = 2.0
#: The file system has no locks (some network and FUSE ones).
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# A lock belongs to a process, and ends when any descriptor of its file is closed there.
_among_threads = threading.Lock()
_kept_by_others: set[Path] = set()  # nobody waits for them a second time


def _begin_in_child() -> None:
    """Forget the lock: a thread that had it when the process was forked is not in the child."""
    global _among_threads
    _among_threads = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def open_private(path: Path) -> int:
    """Return a descriptor of *path* to read and append; if it is new, only its owner may read it.

    Raises:
        NotPrivateError: someone else owns the file or can write to it.
        OSError: it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return _checked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def read_private(path: Path) -> int:
    """Return a descriptor of *path* to read; the errors are those of :func:`open_private`."""
    return _checked(path, os.O_RDONLY)


@contextmanager
def opened_alone(path: Path) -> Iterator[tuple[int, bool]]:
    """Open *path* as :func:`open_private` does, and keep all other processes from it meanwhile.

    Yields:
        the file descriptor; and whether it is really locked, which some file systems cannot do.

    Raises:
        NotPrivateError, OSError: as :func:`open_private`; another process does not let go of it.
    """
    with _among_threads:
        descriptor, is_locked = _open_locked(path)
        try:
            yield descriptor, is_locked
        finally:
            os.close(descriptor)


def size_at_rest(path: Path, descriptor: int) -> int:
    """Return the size of an open file at a moment when nobody is writing to it.

    Raises:
        OSError: another process does not let go of it.
    """
    with _among_threads:
        is_locked = _lock(path, descriptor, fcntl.LOCK_SH)
        size = os.fstat(descriptor).st_size
        if is_locked:
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
    return size


def try_to_lock(descriptor: int) -> bool:
    """Lock an open file for this process until it closes the file or ends, however it ends.

    Not by ``flock``, which a forked child would inherit, and keep when this process is gone.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
        return False
    return True


def names(path: Path, descriptor: int) -> bool:
    """Return whether *path* stands for the open file still."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _open_locked(path: Path) -> tuple[int, bool]:
    while True:
        descriptor = open_private(path)
        try:
            is_locked = _lock(path, descriptor, fcntl.LOCK_EX)
            if names(path, descriptor):
                return descriptor, is_locked
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed or replaced before we had the lock


def _lock(path: Path, descriptor: int, how: int) -> bool:
    until = time.monotonic() + (0.0 if path in _kept_by_others else _PATIENCE)
    while True:
        try:
            fcntl.lockf(descriptor, how | fcntl.LOCK_NB)
            _kept_by_others.discard(path)
            return True
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                _kept_by_others.add(path)
                raise OSError(f"{path} is locked by another process") from None
            time.sleep(0.001)  # a line is written in less
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False


def _checked(path: Path, flags: int) -> int:
    # Never through a link or into a pipe that someone else has put there.
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | careful, 0o600)
    try:
        # The open file is looked at, not its name, which may stand for another file by now.
        _refuse_unless_private(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_unless_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivateError(f"{path} is not a regular file")
    if not hasattr(os, "geteuid"):
        return  # Windows: access lists, which the mode does not show
    if status.st_uid != os.geteuid():
        raise NotPrivateError(
            f"{path} belongs to another user (uid {status.st_uid}); it holds pickles, and to open "
            "one is to run its writer's code"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotPrivateError(
            f"{path} can be written by other users; it holds pickles, and to open one is to run "
            f"its writer's code (if you trust it: chmod 600 {path})"
        )
