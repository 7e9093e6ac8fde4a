"""Files that hold pickles. Whoever can write to one can run code as the user who reads it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scrapy_mpworkers.errors import NotPrivateError

_OWNER_ONLY = 0o600


def open_private(path: Path) -> int:
    """Open *path* to read and to append, and make it if need be; only its owner may read it.

    Returns:
        a file descriptor.

    Raises:
        NotPrivateError: someone else owns the file or can write to it.
        OSError: it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return _checked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def read_private(path: Path) -> int:
    """Open *path* to read; the errors and the result are those of :func:`open_private`."""
    return _checked(path, os.O_RDONLY)


def _checked(path: Path, flags: int) -> int:
    # Never through a link or into a pipe that someone else has put there.
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | careful | getattr(os, "O_CLOEXEC", 0), _OWNER_ONLY)
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
