"""Shared memory of a worker and its parent holds large frames, and a message only says where."""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

#: Bytes that the frames of the messages to a worker can take; only what they ever took is memory.
#: What does not fit goes through the pipe: 10 MB are written there by a thread, where to copy them
#: here would keep the loop for milliseconds.
ARENA_BYTES = 1 << 23
_MARGIN = 64  # in front of the frames: how many messages the reader has done with


class Arena:
    """One process puts the frames of its messages here, and another reads them in that order.

    Neither of them ever waits.

    The memory is not in /dev/shm, which is small in containers and kills whoever writes more than
    it holds.

    Args:
        size: bytes that it holds.
        fd: of the memory; without one it is made.

    Raises:
        OSError: there is no such memory here.
    """

    def __init__(self, size: int = ARENA_BYTES, fd: int = -1) -> None:
        self.fd = os.memfd_create("mpworkers-frames") if fd < 0 else fd
        try:
            os.ftruncate(self.fd, _MARGIN + size)
            self._memory = mmap.mmap(self.fd, _MARGIN + size)
        except BaseException:
            self.close_fd()
            raise
        self._size = size
        self._done = memoryview(self._memory)[:8].cast("Q")
        self._frames = memoryview(self._memory)[_MARGIN:]
        # Of the writer: where the frames of messages are that the reader may not have done with,
        # and how many messages it had done with at the last look.
        self._taken: deque[tuple[int, int]] = deque()
        self._seen = 0
        # Of the reader: messages that it has read.
        self._read = 0

    def __reduce__(self) -> Any:
        # Only while a process is being started.
        return _received, (self._size, reduction.DupFd(self.fd))

    def close_fd(self) -> None:
        """Close the descriptor: the other process has been started, or never will be."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def put(self, pieces: Sequence[bytes], size: int) -> int | None:
        """Write the frames of a message, *size* bytes together, one behind the other.

        Returns:
            where they begin; ``None`` if there is no room for them.
        """
        while self._seen < self._done[0]:
            self._seen += 1
            self._taken.popleft()
        begin = offset = self._lowest_gap(size)
        if begin + size > self._size:
            return None
        self._taken.append((begin, begin + size))
        for piece in pieces:
            self._frames[offset : offset + len(piece)] = piece
            offset += len(piece)
        return begin

    def _lowest_gap(self, size: int) -> int:
        # The lowest: memory that was never used costs nothing.
        offset = 0
        for begin, end in sorted(self._taken):
            if offset + size <= begin:
                break
            offset = end
        return offset

    def frames(self, offset: int) -> memoryview:
        """Return the frames of the next message that has some here, good until :meth:`release`."""
        self._read += 1
        return self._frames[offset:]

    def release(self) -> None:
        """Give up the frames of all messages that were read."""
        self._done[0] = self._read

    def close(self) -> None:
        """Free the memory for this process."""
        self.close_fd()
        self._done.release()
        self._frames.release()
        self._memory.close()


def _received(size: int, duplicate: Any) -> Arena:
    """Map, in the process that is started, the memory of the one that starts it."""
    arena = Arena(size, duplicate.detach())
    arena.close_fd()
    return arena


def make_arena() -> Arena | None:
    """Return an arena where there can be one: on Linux."""
    try:
        return Arena() if hasattr(os, "memfd_create") else None
    except OSError:  # refused, by a sandbox for one
        return None
