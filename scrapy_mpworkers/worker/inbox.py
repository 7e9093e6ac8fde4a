"""The worker's end of its queue."""

from __future__ import annotations

import os
import select
from multiprocessing.queues import JoinableQueue
from typing import Any

from scrapy_mpworkers.wire.arena import Arena
from scrapy_mpworkers.wire.framing import decode_command, parse_prefix
from scrapy_mpworkers.wire.messages import Command
from scrapy_mpworkers.worker.ends import OwnEnd

#: Bytes of a buffer that is used again: fresh memory costs more than what is read into it.
KEPT = 1 << 24


class CommandReader:
    """Takes messages out of a ``JoinableQueue``, as its ``get`` does, but into a buffer that fits.

    ``get`` reads a large message in pieces into a buffer that grows: for 1 MB that takes four times
    as long. And ``empty`` makes a selector each time. (The queue is that of CPython 3.10 to 3.13,
    the format that of ``Connection.send_bytes``.)
    """

    def __init__(self, queue: JoinableQueue[Any], arena: Arena | None = None) -> None:
        internals: Any = queue
        self._arena = arena
        self._queue = internals
        self.fd: int = internals._reader.fileno()
        self._end = OwnEnd(self.fd)
        self._buffer = memoryview(bytearray(1 << 16))
        self._arrivals = select.poll()
        self._arrivals.register(self.fd, select.POLLIN)

    def has_message(self) -> bool:
        """Whether a message has begun to arrive, or the pipe has ended."""
        return bool(self._arrivals.poll(0))

    def get(self) -> Command:
        """The next message; waits for it. Its large frames are good until :meth:`release`.

        Raises:
            EOFError: the pipe has ended, under ``fork`` with the parent. Else the worker has a copy
                of the other end itself, and it is the watch on the parent that ends it.
            OSError: a pipeline has closed the pipe.
        """
        self._end.check()
        with self._queue._rlock:
            message = self._message()
            self._queue._sem.release()
        return decode_command(message, self._arena)

    def release(self) -> None:
        """The large frames so far are of no use any more."""
        if self._arena is not None:
            self._arena.release()

    def _message(self) -> memoryview:
        head = bytes(self._read(4))
        while (prefix := parse_prefix(head)) is None:
            head += self._read(8)
        return self._read(prefix[1])

    def _read(self, size: int) -> memoryview:
        whole = rest = self._room(size)
        while rest:
            count = os.readv(self.fd, [rest])
            if not count:
                raise EOFError
            rest = rest[count:]
        return whole

    def _room(self, size: int) -> memoryview:
        if size > KEPT:
            return memoryview(bytearray(size))
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        return self._buffer[:size]
