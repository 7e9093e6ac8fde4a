"""A worker's ends of its pipes: commands come in, reports go out.

Pipelines share the process and can break them.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.queues import JoinableQueue
from multiprocessing.synchronize import Lock
from typing import Any, NamedTuple, NoReturn, Protocol

from scrapy_mpworkers.wire.arena import Arena
from scrapy_mpworkers.wire.frames import (
    decode_command,
    encode_report,
    parse_prefix,
    size_prefix,
    write_pieces,
)
from scrapy_mpworkers.wire.messages import Command, Outcome, Outcomes, Report
from scrapy_mpworkers.wire.outbox import Outbox
from scrapy_mpworkers.worker.process import OwnEnd, end_group

#: Bytes of a buffer that is used again: fresh memory costs more than what is read into it.
KEPT = 1 << 24
#: An outcome waits for the rest of its batch this many times as long as a batch takes: a little
#: longer than that, or most batches would be sent in two messages.
PATIENCE = 1.2


class Scoreboard(Protocol):
    """Shared memory: [sequence number, last task begun or -1, start or 0, crawl or -1].

    The crawl is the one whose consumers are being opened or closed. The task or the crawl is at
    work if there is a start. Its number stays there when it is over, as it may not be reported yet.
    The sequence number is odd while the others are written. The start is ``time.monotonic()``, a
    clock that all processes of a machine share.
    """

    def __getitem__(self, index: int) -> float: ...
    def __setitem__(self, index: int, value: float) -> None: ...


def record(scoreboard: Scoreboard, task_id: int, started: float, crawl: int = -1) -> None:
    """Write what the worker is at; *started* is 0 when that is over."""
    scoreboard[0] += 1
    scoreboard[1] = task_id
    scoreboard[2] = started
    scoreboard[3] = crawl
    scoreboard[0] += 1


class WorkerChannel(NamedTuple):
    """A worker's ends; ``start_lock`` is to be taken before the consumers are opened."""

    commands: JoinableQueue[Any]
    arena: Arena | None
    outbox: Outbox | None
    reports: Connection
    scoreboard: Scoreboard
    start_lock: Lock


def cut_off(error: BaseException) -> NoReturn:
    """End a worker that can hear or report nothing any more, at once.

    The interpreter's usual end would wait for threads of pipelines.
    """
    if isinstance(error, (BrokenPipeError, EOFError)):
        end_group()  # Scrapy's process is gone, and what pipelines have started goes, too
    with contextlib.suppress(Exception):
        traceback.print_exception(type(error), error, error.__traceback__)
        print(
            "This worker is cut off from Scrapy and ends. Does a pipeline close files that are "
            "not its own (os.closerange), or limit its process (resource.setrlimit)?",
            file=sys.stderr,
            flush=True,
        )
    os._exit(1)


class CommandReader:
    """Takes messages out of a ``JoinableQueue``, as its ``get`` does, but into a buffer that fits,
    and without the selector that ``empty`` makes each time.

    The queue is that of CPython 3.10 to 3.14, the format that of ``Connection.send_bytes``.
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
        """Return whether a message has begun to arrive, or the pipe has ended."""
        return bool(self._arrivals.poll(0))

    def get(self) -> Command:
        """Wait for the next message; its large frames are good until :meth:`release`.

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
        """Give back the memory of the large frames so far."""
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


class Reporter:
    """Sends reports: a batch as a whole when it is done.

    If one of its items takes long, a thread sends the outcomes that are ready without waiting.

    Args:
        reports: the pipe. A worker that cannot send ends: no outcome may be lost in silence.
        batch_seconds: seconds that a batch takes, about.
        outbox: keeps outcomes until they are sent, if there is one.
    """

    def __init__(
        self,
        reports: Connection,
        scoreboard: Scoreboard,
        batch_seconds: float,
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox
        self._flush_after = PATIENCE * batch_seconds
        self._reports = reports
        self._end = OwnEnd(reports.fileno())
        self._scoreboard = scoreboard
        self._crawl = 0  # whose outcomes they are
        self._finished: deque[Outcome] = deque()  # filled by one thread, emptied by two
        self._since = 0.0  # when the oldest of them came
        self._sending = threading.Lock()
        self._has_finished = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, crawl: int) -> None:
        """Take the outcomes that follow as those of *crawl*; all before them have been flushed."""
        self._crawl = crawl
        if self._outbox is not None:
            self._outbox.begin(crawl)

    def send(self, report: Report) -> None:
        """Send a report, behind all outcomes that are ready."""
        self.flush()
        with self._sending:
            self._send(report)

    def tell(self, report: Report) -> None:
        """Send a report that may be lost, from any thread."""
        message = encode_report(report)
        with contextlib.suppress(OSError), self._sending:
            self._write(message)

    def add(self, outcome: Outcome) -> None:
        """Take an outcome that may wait for the rest of its batch."""
        if self._outbox is not None and not self._outbox.put(outcome):
            self.flush(outcome)
            self.begin(self._crawl)
            return
        if not self._finished:
            self._since = time.monotonic()
        self._finished.append(outcome)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._flush_late, name="mpworkers-reporter", daemon=True
            )
            self._thread.start()
        if not self._has_finished.is_set():
            self._has_finished.set()

    def flush(self, *last: Outcome) -> None:
        """Send the outcomes that are ready, and *last* with them."""
        if self._outbox is not None:
            for outcome in last:
                self._outbox.put(outcome)
        with self._sending:
            self._finished.extend(last)
            ready = [self._finished.popleft() for _ in range(len(self._finished))]
            if ready:
                self._send(Outcomes.of(self._crawl, ready))

    def _send(self, report: Report) -> None:
        try:
            self._write(encode_report(report))
        except BaseException as error:
            # The task on the scoreboard may be innocent: one before it may have broken the pipe.
            self._scoreboard[2] = 0.0
            cut_off(error)

    def _write(self, message: bytes) -> None:
        self._end.check()
        write_pieces(self._reports.fileno(), [size_prefix(len(message)), message])

    def _flush_late(self) -> None:
        while True:
            self._has_finished.wait()
            # This thread waits again only when nothing is left: to be woken for each batch, and to
            # send the next one in two messages, would cost more than the rest of a small item.
            while self._finished:
                time.sleep(max(0.0, self._since + self._flush_after - time.monotonic()))
                if self._finished and time.monotonic() - self._since >= self._flush_after:
                    self.flush()
            self._has_finished.clear()
            if self._finished:
                self._has_finished.set()


class NoReporter:
    """Ends a process that a pipeline has forked, as soon as the pipeline returns there.

    The worker itself reports the outcome of the task.
    """

    def _exit(self, *_: object) -> NoReturn:
        # No usual exit: it would flush copies of buffers that the worker flushes as well.
        os._exit(0)

    begin = send = add = flush = _exit
