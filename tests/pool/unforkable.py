"""SERVER SIDE: a system that lets nobody fork while the file that ``NO_FORK_WHILE`` names is there.

Without that variable, as in the process of the test, importing this changes nothing.
"""

from __future__ import annotations

import errno
import os

_fork = os.fork


def fork() -> int:
    if os.path.exists(os.environ["NO_FORK_WHILE"]):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


if "NO_FORK_WHILE" in os.environ:
    os.fork = fork
