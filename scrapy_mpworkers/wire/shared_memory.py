"""Memory that two processes share.

It is not in /dev/shm, which is small in containers and kills whoever writes more than it holds.
"""

from __future__ import annotations

import mmap
import os
from multiprocessing import reduction
from typing import Any, TypeVar


class SharedMemory:
    """Memory of a process and of those that it is passed to while they are being started.

    Args:
        size: bytes that it holds. Only what was ever written takes memory.
        fd: of the memory; without one it is made.

    Raises:
        OSError: there is no such memory here.
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        self.size = size
        self.fd = os.memfd_create("mpworkers") if fd < 0 else fd
        try:
            os.ftruncate(self.fd, size)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            self.close_fd()
            raise

    def __reduce__(self) -> Any:
        return _received, (type(self), self.size, reduction.DupFd(self.fd))

    def close_fd(self) -> None:
        """Close the descriptor: the other process has been started, or never will be."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Free the memory for this process."""
        self.close_fd()
        self.memory.close()


MemoryT = TypeVar("MemoryT", bound=SharedMemory)


def _received(cls: type[MemoryT], size: int, duplicate: Any) -> MemoryT:
    """Map, in the process that is started, the memory of the one that starts it."""
    received = cls(size, duplicate.detach())
    received.close_fd()
    return received


def make_shared(cls: type[MemoryT], size: int) -> MemoryT | None:
    """Return shared memory of *size* bytes where there can be some: on Linux."""
    try:
        return cls(size) if hasattr(os, "memfd_create") else None
    except OSError:  # refused, by a sandbox for one
        return None
