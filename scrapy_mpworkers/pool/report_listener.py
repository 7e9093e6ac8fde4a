"""Hears workers: their reports, and their ends. Everything here runs in the event loop's thread.

It never waits for a worker: one that stops in the middle of 50 MB has its half message in a buffer.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic

from scrapy_mpworkers.pool.channel import PIPE_BYTES, READ_BYTES, ReportReader
from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.frames import NotAReportError, decode_report
from scrapy_mpworkers.wire.messages import CrawlReport, Outcomes, Report, Stacks

logger = logging.getLogger(__name__)

#: Reads of one worker in one turn of the loop: all that its pipe can hold.
_READS = 1 + PIPE_BYTES // READ_BYTES
#: Seconds after which to ask again for the exit code of a worker whose handle has fired.
_BLINK = 0.005
#: Seconds after which an exit code is not waited for any more: whoever could tell it does not.
_CODE_SECONDS = 2.0
#: Seconds that a worker may live without its end of the pipe.
_DUMB = 5.0
#: Seconds between two looks at a worker whose exit handle may stay silent after its end.
_LOOK_AGAIN = 1.0


class ReportListener:
    """Gives crawls the outcomes that workers report, and tells what else they say and how they end.

    Args:
        on_report: called with the worker and its report. Outcomes go to their crawl, and then here
            only if workers are recycled.
        on_end: called with the worker and its exit code, when everything that it managed to write
            has been reported.

    Attributes:
        reports: how many reports with outcomes have come.
    """

    def __init__(
        self,
        state: GroupState,
        on_report: Callable[[ProcessHandle, CrawlReport], None],
        on_end: Callable[[ProcessHandle, int | None], None],
    ) -> None:
        self.reports = 0
        self._state = state
        self._loop = state.loop
        self._on_report = on_report
        self._on_end = on_end
        self._recycles = state.options.max_items or state.options.memory_limit
        self._watched: set[ProcessHandle] = set()  # until their exit is known
        self._listening: set[ProcessHandle] = set()

    def add(self, handle: ProcessHandle) -> None:
        process = handle.process
        self._watched.add(handle)
        self._listening.add(handle)
        self._loop.add_reader(process.reports.fd, partial(self._read, handle, process.reports))
        self._loop.add_reader(process.exit_handle, partial(self._exited, handle))
        if not process.is_sure_of_exit:
            self._look_later(handle)

    def hear(self, handle: ProcessHandle) -> None:
        """Take in what a worker has said, before it is judged: after a long callback of the
        crawl the loop may run timers before it comes to reading."""
        if handle in self._listening:
            self._read(handle, handle.process.reports)

    def _read(self, handle: ProcessHandle, reports: ReportReader) -> None:
        self._take(handle, reports)
        if reports.at_end:
            # Its exit handle comes next; should it not, nothing more can be heard from it.
            self._deafen(handle)
            self._loop.call_later(_DUMB, while_it_lives(handle, self._end_dumb))

    def _end_dumb(self, handle: ProcessHandle) -> None:
        """End a worker whose exit handle may be a pipe of a stopped fork server, and never fire."""
        handle.kill()
        if handle in self._watched:
            self._exited(handle)

    def _take(self, handle: ProcessHandle, reports: ReportReader) -> None:
        """Take what a pipe can hold, and not all that a worker may want to write at a time."""
        for _ in range(_READS):
            taken = reports.read()
            try:
                for message in reports.messages():
                    self._heard(handle, decode_report(message), len(message))
            except NotAReportError as error:
                self._end_babbler(handle, error)
            if taken and reports.has_part:
                handle.heard()
            if taken < READ_BYTES:
                break

    def _heard(self, handle: ProcessHandle, report: Report, size: int) -> None:
        if isinstance(report, Stacks):
            # It says nothing of the thread that works, which may be stuck.
            self._state.stack_requests.answered(handle, report.text)
            return
        handle.heard()
        if not isinstance(report, Outcomes):
            self._on_report(handle, report)
            return
        state = self._state
        self.reports += 1
        executor = state.present.get(report.crawl) or state.leaving[report.crawl]
        if state.is_shared:
            state.take_turns(executor)
        executor.on_outcomes(handle, report, size)
        if self._recycles:
            self._on_report(handle, report)

    def _end_babbler(self, handle: ProcessHandle, error: NotAReportError) -> None:
        logger.error(
            "Worker %s is killed: it has sent something that is no report (%s). Does a pipeline "
            "write to a file descriptor that is not its own?",
            handle.title,
            error,
        )
        handle.process.reports.give_up()
        handle.kill()  # not for a reason of ours: its tasks are to blame

    def _deafen(self, handle: ProcessHandle) -> None:
        if handle in self._listening:
            self._listening.remove(handle)
            self._loop.remove_reader(handle.process.reports.fd)

    def _look_later(self, handle: ProcessHandle) -> None:
        self._loop.call_later(_LOOK_AGAIN, while_it_lives(handle, self._look))

    def _look(self, handle: ProcessHandle) -> None:
        """Ask the kernel for the end, as a process that the worker has forked may hold the pipe."""
        if handle not in self._watched:
            return
        if handle.process.exitcode is not None:
            self._exited(handle)
        else:
            self._look_later(handle)

    def _exited(self, handle: ProcessHandle) -> None:
        self._watched.remove(handle)
        self._loop.remove_reader(handle.process.exit_handle)
        self._deafen(handle)
        self._collect(handle, monotonic() + _CODE_SECONDS)

    def _collect(self, handle: ProcessHandle, until: float) -> None:
        handle.kill()  # and all that it has left behind
        if not handle.process.reap(is_certain=monotonic() > until):
            self._loop.call_later(_BLINK, partial(self._collect, handle, until))
            return
        # Drain first: results that it managed to write are results.
        self._take(handle, handle.process.reports)
        self._on_end(handle, handle.process.exitcode)


def while_it_lives(
    handle: ProcessHandle, function: Callable[[ProcessHandle], None]
) -> Callable[[], None]:
    """Return a call for a timer, which must not keep a discarded worker's queue in memory."""
    alive = weakref.ref(handle)

    def call() -> None:
        handle = alive()
        if handle is not None:
            function(handle)

    return call
