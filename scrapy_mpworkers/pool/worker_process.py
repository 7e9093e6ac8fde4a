"""Has one worker's process, with its own JoinableQueue down, its own pipe up, and its scoreboard.

Nothing here is shared with another worker: one that is killed at any moment, even while it holds
its queue's lock, takes nothing but its own channel with it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple

from scrapy_mpworkers.errors import UNKNOWN_EXIT
from scrapy_mpworkers.pool.channel import CommandWriter, ReportReader
from scrapy_mpworkers.pool.exits import SERVER_GONE
from scrapy_mpworkers.pool.killing import is_there, signal_group
from scrapy_mpworkers.pool.shortages import make_lock
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.wire.messages import Outcomes
from scrapy_mpworkers.wire.outbox import make_outbox
from scrapy_mpworkers.wire.shared_memory import SharedMemory
from scrapy_mpworkers.worker.channel import WorkerChannel
from scrapy_mpworkers.worker.main import Inherited, forked_main, main, spawned_main

#: Seconds in which a killed worker ends, if it ever does.
_END_SECONDS = 5.0


class Activity(NamedTuple):
    """The task or the crawl that a worker is at, as its scoreboard says.

    It has the running task, or the crawl whose consumers are being opened or closed (both ``None``
    while idle), and the start of that, on a shared clock. ``begun`` and ``begun_for`` are the last
    task or crawl, over or not.
    """

    task_id: int | None = None
    crawl: int | None = None
    started: float = 0.0
    begun: int | None = None
    begun_for: int | None = None


#: The activity of a worker that is not started yet, or is just writing its scoreboard.
UNKNOWN = Activity()


class WorkerProcess:
    """A started worker. Made and discarded by the starter thread; used by the loop's in between.

    The constructor blocks while the fork server imports. It starts the worker, or raises and leaves
    nothing behind.

    Args:
        siblings: other workers, whose ends a worker that is forked from this process must close.

    Attributes:
        start_lock: ours until the worker may build and open its consumers. From then on whoever
            takes it first decides: the worker that it opens them, or we that it never will.
        exit_handle: a descriptor that becomes readable when the worker is dead.
        is_sure_of_exit: whether the exit handle certainly tells of the worker's end.
    """

    def __init__(
        self, processes: Processes, name: str, siblings: Iterable[WorkerProcess] = ()
    ) -> None:
        with ExitStack() as undo:
            # The worker's ends, closed at once: with a copy of them here, a feeder blocked in the
            # full pipe of a killed worker would never get its EPIPE, nor the listener its EOF.
            with ExitStack() as given_away:
                # (Make this semaphore first: if none can be made, make_lock() says so.)
                self.start_lock = make_lock(processes.context)
                self.start_lock.acquire()
                self.commands = CommandWriter(processes.context)
                undo.callback(self.commands.discard)
                given_away.callback(self.commands.close_reader)
                reports, reports_w = processes.context.Pipe(duplex=False)
                undo.callback(reports.close)
                given_away.callback(reports_w.close)
                self.reports = ReportReader(reports)
                self._scoreboard = processes.context.RawArray("d", [0.0, -1.0, 0.0, -1.0])
                self._outbox = make_outbox()
                if self._outbox is not None:
                    undo.callback(self._outbox.close)
                    given_away.callback(self._outbox.close_fd)
                channel = WorkerChannel(
                    self.commands.queue,
                    self.commands.arena,
                    self._outbox,
                    reports_w,
                    self._scoreboard,
                    self.start_lock,
                )
                self._process = self._start(processes, name, channel, siblings)
            undo.pop_all()  # from here on nothing can fail
        self.pid: int = self._process.pid
        self._is_reaped = False
        self.exit_handle, self.is_sure_of_exit = self._open_exit_handle(processes.method)

    def _start(
        self,
        processes: Processes,
        name: str,
        channel: WorkerChannel,
        siblings: Iterable[WorkerProcess],
    ) -> Any:
        if processes.method != "fork":
            target = spawned_main if processes.method == "spawn" else main
            return processes.start(target, (channel, processes.config), name)
        arguments = (self._inherited(siblings), channel, processes.config)
        return processes.start(forked_main, arguments, name)

    def _inherited(self, siblings: Iterable[WorkerProcess]) -> Inherited:
        everyone = [self, *siblings]
        connections = [one.commands.writer for one in everyone]
        connections += [one.reports.connection for one in everyone]
        memories = [memory for one in everyone[1:] for memory in one._memories()]
        return Inherited(connections, [memory.fd for memory in self._memories()], memories)

    def _memories(self) -> list[SharedMemory]:
        """Return the memory that is shared with the worker."""
        return [memory for memory in (self.commands.arena, self._outbox) if memory is not None]

    def _open_exit_handle(self, method: str) -> tuple[int, bool]:
        """Return the exit handle, and whether it is certain to tell.

        Except under forkserver, ``Process.sentinel`` is the end of a pipe, which a process that the
        worker has forked keeps open. Linux has a handle for the process itself; a kernel before
        5.3, a sandbox or a lack of descriptors refuses it.
        """
        if method == "forkserver":
            return self._process.sentinel, True
        with contextlib.suppress(OSError, AttributeError):
            return os.pidfd_open(self.pid), True
        return self._process.sentinel, False

    def activity(self) -> Activity:
        """Return what the worker is at; ``UNKNOWN`` while it is writing the scoreboard."""
        # A slice is read in the same order, without an iterator.
        written, task_id, started, crawl = self._scoreboard[:]
        if written % 2 or self._scoreboard[0] != written:
            return UNKNOWN
        begun = None if task_id < 0 else int(task_id)
        begun_for = None if crawl < 0 else int(crawl)
        if started:
            return Activity(begun, begun_for, started, begun, begun_for)
        return Activity(begun=begun, begun_for=begun_for)

    def ask_for_stacks(self) -> None:
        """Ask a thread of the worker, which is told in this way, too, that this process ends."""
        if not self._is_reaped:
            with contextlib.suppress(OSError):  # it is dead, or has many questions before it
                os.write(self._process._popen.questions, b"?")

    def kill(self, signum: int) -> None:
        if not self._is_reaped:
            # Without its fork server it may live on, whatever its handle says.
            has_ended = self.exitcode not in (None, SERVER_GONE)
            signal_group(self.pid, signum, has_ended)

    @property
    def exitcode(self) -> int | None:
        """The exit code of ``Process``; ``None`` while nobody tells of its end, or its server's."""
        code: int | None = self._process.exitcode
        return code

    def reap(self, is_certain: bool) -> bool:
        """Collect a killed worker and return whether it is dead; if *is_certain*, it counts as dead
        even when nobody tells its exit code."""
        if is_certain and self.exitcode is None:
            self._process._popen.returncode = UNKNOWN_EXIT  # nobody tells it
        if self.exitcode is None:
            return False
        if self.exitcode == SERVER_GONE and not is_certain and is_there(self.pid):
            return False  # its server ended first and tells no exit: this one is dying of SIGKILL
        if self.exit_handle != self._process.sentinel:
            os.close(self.exit_handle)
        self._is_reaped = True
        return True

    def join(self) -> None:
        self._process.join(_END_SECONDS)

    def left(self) -> Outcomes | None:
        """Return the outcomes that a dead worker has left, those included that it had reported."""
        return None if self._outbox is None else self._outbox.left()

    def discard(self) -> None:
        self.commands.discard()
        if self._outbox is not None:
            self._outbox.close()
        self.reports.connection.close()
        self._process.close()
