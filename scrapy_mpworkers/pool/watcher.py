"""The thread that waits: for reports, for exits, for deadlines.

It never blocks on one lane: a worker that stops in the middle of 50 MB has its half message in an
assembly buffer while the others go on.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import struct
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from scrapy_mpworkers.pool.lane import Lane, while_it_lives
from scrapy_mpworkers.wire.messages import Report, decode

_READ = 1 << 18  # bytes that one lane may deliver in one turn


class Reported(NamedTuple):
    """A lane's worker has sent a report of *size* bytes."""

    lane: Lane
    report: Report
    size: int


class Ended(NamedTuple):
    """A lane's worker is dead and everything that it managed to write has been reported."""

    lane: Lane
    exitcode: int | None


class Due(NamedTuple):
    """The time of a deadline has come."""

    callback: Callable[[], None]


Event = Reported | Ended | Due


class Watcher:
    """Delivers events, in order, a list for each turn.

    Args:
        deliver: called in this thread; must hand the events over to the loop.
    """

    def __init__(self, deliver: Callable[[list[Event]], None]) -> None:
        self._deliver = deliver
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._commands: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._assemblies: dict[Lane, _Assembly] = {}
        self._running = True
        self._waking = threading.Lock()
        self._is_open = True
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="mpworkers-watcher", daemon=True)
        self._thread.start()

    def add(self, lane: Lane) -> None:
        """Watch a started lane until its end."""
        self._command(lambda: self._add(lane))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Deliver *callback* as a :class:`Due` event."""
        timer = (monotonic() + seconds, next(self._count), callback)
        self._command(lambda: heapq.heappush(self._timers, timer))

    def stop(self) -> None:
        """End the thread and wait for it. Not for the loop's thread."""
        self._command(self._finish)
        self._thread.join()
        # Not by the thread itself: it may obey a command, and end, before the byte that was to
        # wake it has been written.
        with self._waking:
            self._is_open = False
            self._selector.close()
            os.close(self._wake_r)
            os.close(self._wake_w)

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        # Locked, and not after the end: the number of a closed fd may be another's by now.
        with self._waking, contextlib.suppress(BlockingIOError):  # a full pipe wakes just as well
            if self._is_open:
                os.write(self._wake_w, b"\0")

    def _finish(self) -> None:
        self._running = False

    def _run(self) -> None:
        while self._running:
            ready = self._selector.select(self._timeout())
            events: list[Event] = []
            for key, _ in ready:
                if key.data is None:
                    self._obey()
                elif key.fileobj in self._selector.get_map():
                    lane, is_exit = key.data
                    events += self._exited(lane) if is_exit else self._read(lane)
            events += self._due()
            if events:
                self._deliver(events)

    def _timeout(self) -> float | None:
        return max(0.0, self._timers[0][0] - monotonic()) if self._timers else None

    def _due(self) -> list[Event]:
        due: list[Event] = []
        while self._timers and self._timers[0][0] <= monotonic():
            due.append(Due(heapq.heappop(self._timers)[2]))
        return due

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)
        while self._commands:
            self._commands.popleft()()

    def _add(self, lane: Lane) -> None:
        self._assemblies[lane] = _Assembly(lane.reports.fileno())
        self._selector.register(lane.reports, selectors.EVENT_READ, (lane, False))
        self._selector.register(lane.exit_handle, selectors.EVENT_READ, (lane, True))

    def _read(self, lane: Lane) -> list[Event]:
        assembly = self._assemblies[lane]
        assembly.read()
        if assembly.at_end:
            # Its exit handle comes next; should it not, nothing more can be heard from it.
            self._selector.unregister(lane.reports)
            self.call_later(5.0, while_it_lives(lane, Lane.kill))
        return [Reported(lane, decode(data), len(data)) for data in assembly.messages()]

    def _exited(self, lane: Lane) -> list[Event]:
        """Drain first: results that it managed to write are results."""
        self._selector.unregister(lane.exit_handle)
        exitcode = lane.reap()
        assembly = self._assemblies.pop(lane)
        while assembly.read():
            pass
        if lane.reports in self._selector.get_map():
            self._selector.unregister(lane.reports)
        last: list[Event] = [Reported(lane, decode(d), len(d)) for d in assembly.messages()]
        return [*last, Ended(lane, exitcode)]


class _Assembly:
    """Puts the messages of ``Connection.send_bytes`` together from what has arrived.

    The format is that of CPython's multiprocessing/connection.py: a signed 4-byte length, or -1
    and an unsigned 8-byte length, then the bytes.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self.at_end = False

    def read(self) -> bool:
        """Take what is there, up to a bound. Whether there was anything."""
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return False
        self._buffer += data
        self.at_end = not data
        return bool(data)

    def messages(self) -> list[bytes]:
        """The messages that are complete."""
        complete = []
        while (span := self._span()) is not None:
            complete.append(bytes(memoryview(self._buffer)[span]))
            del self._buffer[: span.stop]
        return complete

    def _span(self) -> slice | None:
        start, buffer = 4, self._buffer
        if len(buffer) < start:
            return None
        (size,) = struct.unpack_from("!i", buffer)
        if size == -1:
            start = 12
            if len(buffer) < start:
                return None
            (size,) = struct.unpack_from("!Q", buffer, 4)
        return slice(start, start + size) if len(buffer) >= start + size else None
