"""FORK SERVER SIDE of the pool's tests: to be preloaded, so that forks fail as long as a file says.

As the kernel refuses them where a user, or a container, has no process left.
"""

from __future__ import annotations

import errno
import os

#: In the environment: the path of that file.
VARIABLE = "POOL_TESTS_REFUSE_FORKS"

_fork = os.fork


def fork() -> int:
    if os.path.exists(os.environ.get(VARIABLE, "")):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
