"""Shared memory of a worker and its parent holds large frames, and a message only says where."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from scrapy_mpworkers.wire.shared_memory import SharedMemory, make_shared

#: Bytes that the frames of the messages to a worker can take; memory is taken only for bytes that
#: were ever used. Frames that do not fit go through the pipe: a thread writes 10 MB there, while
#: copying them here would keep the loop for milliseconds.
ARENA_BYTES = 1 << 23
MARGIN = 64  #: in front of the frames: how many messages the reader has done with


class Arena(SharedMemory):
    """One process puts the frames of its messages here, and another reads them in that order.

    Neither of them ever waits.

    Args:
        size: bytes of frames that it holds, and of the margin in front of them.
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        super().__init__(size, fd)
        self._done = memoryview(self.memory)[:8].cast("Q")
        self._frames = memoryview(self.memory)[MARGIN:]
        # For the writer: where frames are that the reader may still need, and how many messages
        # the reader was done with at the last look.
        self._taken: deque[tuple[int, int]] = deque()
        self._seen = 0
        # For the reader: how many messages it has read.
        self._read = 0

    def put(self, pieces: Sequence[bytes], size: int) -> int | None:
        """Write the frames of a message, *size* bytes together, one behind the other.

        Returns:
            where they begin; ``None`` if there is no room for them.
        """
        while self._seen < self._done[0]:
            self._seen += 1
            self._taken.popleft()
        begin = offset = self._lowest_gap(size)
        if begin + size > len(self._frames):
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
        self._done.release()
        self._frames.release()
        super().close()


def make_arena() -> Arena | None:
    """Return an arena where there can be one."""
    return make_shared(Arena, MARGIN + ARENA_BYTES)
