"""The parent's ends of a worker's queue and report pipe. Neither putting nor reading ever waits.

A message that fits into the pipe is written at once, a larger one and those behind it by a thread.
What is done here to the queue is what its own ``put`` does (CPython 3.10 to 3.14).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from scrapy_mpworkers.pool.mailbox import Mailbox
from scrapy_mpworkers.wire.arena import make_arena
from scrapy_mpworkers.wire.frames import (
    REPORT_PREFIX,
    NotAReportError,
    encode_command,
    parse_prefix,
    size_prefix,
    write_pieces,
)
from scrapy_mpworkers.wire.messages import Command

#: Bytes that a pipe of a worker holds, where that can be set. Linux lets a user's pipes hold 64 MiB
#: together, and makes all further ones tiny (pipe(7)); those of 64 workers take half of it.
PIPE_BYTES = 1 << 18
#: A pipe holds pages, and the last page of a message may be almost empty: room for that.
_SLACK = 16 * 4096
#: Bytes to ask for in one read: what a pipe holds by default.
READ_BYTES = 1 << 16


class CommandWriter:
    """Puts messages into a worker's queue, and counts those with a task that is not settled.

    ``arena``: where large frames are put, if there is one.
    """

    def __init__(self, context: BaseContext) -> None:
        queue: Any = context.JoinableQueue()
        self.queue = queue
        self.writer: Connection = queue._writer  #: the end of its pipe that is ours
        self.arena = make_arena()
        self._capacity = widen(self.writer.fileno())
        self._feeder: _Feeder | None = None
        self._fed = False  #: whether the feeder may still have something
        self.open_messages = 0

    def put(self, command: Command) -> None:
        """Put a message. The number of open ones is bounded, and so is what the feeder holds."""
        if not self.open_messages:
            self._fed = False  # all has arrived
        self.open_messages += 1
        self._count()
        # What Connection.send_bytes would write, in pieces.
        body = encode_command(command, self.arena)
        size = sum(map(len, body))
        head = size_prefix(size)
        message = [head, *body]
        if self._fed or len(head) + size > self._room():
            self._fed = True
            if self._feeder is None:
                self._feeder = _Feeder(self.writer)
            self._feeder.feed(message)
        else:
            _write(self.writer, message)

    def task_done(self) -> None:
        """Count a message as over, whose last task is settled."""
        self.open_messages -= 1
        self.queue.task_done()

    def close_reader(self) -> None:
        """Close the worker's ends, which this process has no use for."""
        self.queue._reader.close()
        if self.arena is not None:
            self.arena.close_fd()

    def discard(self) -> None:
        while self.open_messages:
            self.task_done()
        self.queue.join()  # never waits, because no message is open any more
        if self.arena is not None:
            self.arena.close()
        if self._feeder is None:
            self.writer.close()
        else:
            self._feeder.end()

    def _count(self) -> None:
        self.queue._sem.acquire(block=False)
        with self.queue._cond:
            self.queue._unfinished_tasks.release()

    def _room(self) -> int:
        """Return how many bytes the pipe certainly takes without a wait."""
        if not self._capacity:
            return 0
        answer = fcntl.ioctl(self.writer.fileno(), termios.FIONREAD, bytes(4))
        return self._capacity - int.from_bytes(answer, "little") - _SLACK


class _Feeder:
    """Writes in a thread what does not fit. The thread ends with the pipe, which it closes."""

    def __init__(self, writer: Connection) -> None:
        self._messages: Mailbox[list[bytes] | None] = Mailbox()
        self._writer = writer
        self._has_thread = False

    def feed(self, message: list[bytes]) -> None:
        self._messages.put(message)
        if not self._has_thread:
            # If the system gives no thread now, the next message tries again; until then the worker
            # does not take up its work, and counts as stuck like any other worker that does not.
            # A daemon: the interpreter must not wait for a thread that a stuck worker blocks.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._run, name="mpworkers-feeder", daemon=True).start()
                self._has_thread = True

    def end(self) -> None:
        if self._has_thread:
            self._messages.put(None)
        else:
            self._writer.close()

    def _run(self) -> None:
        # Closed however the thread ends: the worker sees the end of its commands, and exits.
        with contextlib.closing(self._writer):
            while True:
                message = self._messages.get()
                if message is None:
                    break
                _write(self._writer, message)
                del message  # or its frames would stay in memory until the next one


class ReportReader:
    """Puts the messages of a worker's report pipe together from what has arrived."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.fd = connection.fileno()
        self.at_end = False
        self._buffer = bytearray()
        os.set_blocking(self.fd, False)
        widen(self.fd)

    @property
    def has_part(self) -> bool:
        """Return whether a message is there that is not complete."""
        return bool(self._buffer)

    def read(self) -> int:
        """Take up to ``READ_BYTES`` that are there; return how many. If fewer, none are left."""
        if self.at_end:
            return 0
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return 0
        self._buffer += data
        self.at_end = not data
        return len(data)

    def give_up(self) -> None:
        """Drop what has come, and hear no more."""
        self.at_end = True
        self._buffer.clear()

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that are complete.

        Raises:
            NotAReportError: what has arrived is not the beginning of a report.
        """
        while self._buffer and (span := self._span()) is not None:
            message = bytes(memoryview(self._buffer)[span])
            del self._buffer[: span.stop]
            yield message

    def _span(self) -> slice | None:
        buffer = self._buffer
        if (prefix := parse_prefix(buffer)) is None:
            return None
        start, size = prefix
        first = buffer[start : start + len(REPORT_PREFIX)]
        if size < len(REPORT_PREFIX) or first != REPORT_PREFIX[: len(first)]:
            # Do not wait for the rest: what is no report has no true size.
            raise NotAReportError(f"it begins with {bytes(buffer[:16])!r}")
        return slice(start, start + size) if len(buffer) >= start + size else None


def widen(pipe: int) -> int:
    """Let a pipe hold more, as each piece of a frame costs a switch; return how many bytes it
    holds, 0 if that is not known."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return 0
    with contextlib.suppress(OSError):
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with contextlib.suppress(OSError):
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    return 0


def _write(writer: Connection, message: Sequence[bytes]) -> None:
    # The worker is dead, and its exit handle will tell.
    with contextlib.suppress(BrokenPipeError):
        write_pieces(writer.fileno(), message)
