"""Hears the lanes: their reports, and their ends. Everything here runs in the event loop's thread.

It never waits for one lane: a worker that stops in the middle of 50 MB has its half message in an
assembly buffer while the others go on. No thread of its own reads: it would wait for the
interpreter lock, up to 5 ms each time, while the crawl computes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic

from scrapy_mpworkers.pool.channel import PIPE_BYTES
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.worker_handle import ProcessHandle, while_it_lives
from scrapy_mpworkers.wire.framing import (
    REPORT_PREFIX,
    NotAReportError,
    decode_report,
    parse_prefix,
)
from scrapy_mpworkers.wire.messages import Report

logger = logging.getLogger(__name__)

#: Bytes to ask for in one read: what a pipe holds by default.
_READ = 1 << 16
#: Reads of one lane in one turn of the loop: all that its pipe can hold.
_READS = 1 + PIPE_BYTES // _READ
#: Seconds after which to ask again for the exit code of a worker whose handle has fired.
_BLINK = 0.005
#: Seconds after which an exit code is not waited for any more: whoever could tell it does not.
_CODE_SECONDS = 2.0
#: Seconds that a worker may live without its end of the pipe.
_DUMB = 5.0
#: Seconds between two looks at a worker whose exit handle may stay silent after its end.
_LOOK_AGAIN = 1.0


class Watcher:
    """Tells what lanes say and how they end.

    Args:
        loop: the crawl's.
        on_report: called with the lane, its report and the report's size in bytes.
        on_end: called with the lane and its exit code, when everything that the worker managed to
            write has been reported.
    """

    def __init__(
        self,
        loop: Loop,
        on_report: Callable[[ProcessHandle, Report, int], None],
        on_end: Callable[[ProcessHandle, int | None], None],
    ) -> None:
        self._loop = loop
        self._on_report = on_report
        self._on_end = on_end
        self._assemblies: dict[ProcessHandle, _Assembly] = {}
        self._listening: set[ProcessHandle] = set()
        self._ending: set[ProcessHandle] = set()  # their exit is known, and not their exit code

    def add(self, handle: ProcessHandle) -> None:
        """Watch a started lane until its end."""
        fd = handle.reports.fileno()
        self._assemblies[handle] = _Assembly(fd)
        self._listening.add(handle)
        self._loop.add_reader(fd, partial(self._read, handle))
        self._loop.add_reader(handle.exit_handle, partial(self._exited, handle))
        if not handle.is_sure_of_exit:
            self._look_later(handle)

    def hear(self, handle: ProcessHandle) -> None:
        """Take in what a lane has said so far.

        For whoever is about to judge it: after a long callback of the crawl the loop may run timers
        before it comes to reading.
        """
        if handle in self._listening:
            self._read(handle)

    def _read(self, handle: ProcessHandle) -> None:
        if self._take(handle).at_end:
            # Its exit handle comes next; should it not, nothing more can be heard from it.
            self._deafen(handle)
            self._loop.call_later(_DUMB, while_it_lives(handle, self._end_dumb))

    def _end_dumb(self, handle: ProcessHandle) -> None:
        """Its exit handle may be a pipe of a fork server that is stopped, and never fire."""
        handle.kill()
        if handle in self._assemblies and handle not in self._ending:
            self._exited(handle)

    def _take(self, handle: ProcessHandle) -> _Assembly:
        """Take what a pipe can hold, and not all that a worker may want to write at a time."""
        assembly = self._assemblies[handle]
        for _ in range(_READS):
            taken = assembly.read()
            if taken:
                handle.heard_at = monotonic()
            for report, size in self._reports(handle, assembly):
                self._on_report(handle, report, size)
            if taken < _READ:
                break
        return assembly

    def _reports(self, handle: ProcessHandle, assembly: _Assembly) -> Iterator[tuple[Report, int]]:
        try:
            for message in assembly.messages():
                yield decode_report(message), len(message)
        except NotAReportError as error:
            logger.error(
                "Worker %s is killed: it has sent what is no report (%s). Does a pipeline write "
                "to a file descriptor that is not its own?",
                handle.title,
                error,
            )
            assembly.give_up()
            handle.kill()  # not for a reason of ours: its tasks are to blame

    def _deafen(self, handle: ProcessHandle) -> None:
        if handle in self._listening:
            self._listening.remove(handle)
            self._loop.remove_reader(self._assemblies[handle].fd)

    def _look_later(self, handle: ProcessHandle) -> None:
        self._loop.call_later(_LOOK_AGAIN, while_it_lives(handle, self._look))

    def _look(self, handle: ProcessHandle) -> None:
        """A process that the worker has forked holds the pipe that would tell: ask the kernel."""
        if handle not in self._assemblies or handle in self._ending:
            return
        if handle.has_ended:
            self._exited(handle)
        else:
            self._look_later(handle)

    def _exited(self, handle: ProcessHandle) -> None:
        self._ending.add(handle)
        self._loop.remove_reader(handle.exit_handle)
        self._deafen(handle)
        self._collect(handle, monotonic() + _CODE_SECONDS)

    def _collect(self, handle: ProcessHandle, until: float) -> None:
        if not handle.reap(is_certain=monotonic() > until):
            self._loop.call_later(_BLINK, partial(self._collect, handle, until))
            return
        # Drain first: results that it managed to write are results.
        self._take(handle)
        del self._assemblies[handle]
        self._ending.remove(handle)
        self._on_end(handle, handle.process.exitcode)


class _Assembly:
    """Puts the messages of ``Connection.send_bytes`` together from what has arrived."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.at_end = False
        self._buffer = bytearray()

    def read(self) -> int:
        """Take what is there, up to ``_READ`` bytes, and return how many: fewer were all."""
        if self.at_end:
            return 0
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return 0
        self._buffer += data
        self.at_end = not data
        return len(data)

    def give_up(self) -> None:
        """Nothing more can be made of what has come, or comes."""
        self.at_end = True
        self._buffer.clear()

    def messages(self) -> Iterator[bytes]:
        """The messages that are complete.

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
            # Before all of it is here: its size may be any, and would never be reached.
            raise NotAReportError(f"it begins with {bytes(buffer[:16])!r}")
        return slice(start, start + size) if len(buffer) >= start + size else None
