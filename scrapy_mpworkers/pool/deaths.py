"""Finds out why workers have died, counts it and says it."""

from __future__ import annotations

import logging
import signal

from scrapy_mpworkers.errors import UNKNOWN_EXIT, exit_in_words, exit_label
from scrapy_mpworkers.pool.exits import SERVER_GONE, OutOfMemoryKills
from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.interface import Death
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)


class Deaths:
    """Reads the ends of workers.

    Attributes:
        last: the last one in words.
    """

    def __init__(self, state: GroupState, processes: Processes) -> None:
        self._state = state
        self._processes = processes
        self._oom = OutOfMemoryKills()
        self._knows_of_taken_exits = False
        self.last = ""

    def note(self, handle: ProcessHandle, exitcode: int | None, is_stopping: bool) -> Death:
        """Count and log the end of a worker, unless it was meant to go, and say who is to blame."""
        if exitcode == UNKNOWN_EXIT:
            self._say_that_exits_are_taken()
            exitcode = None
        explained = is_explained(handle, exitcode)
        is_oom = exitcode == -signal.SIGKILL and not explained and self._oom.any_since_last_look()
        running = handle.running()
        if not handle.is_closing or not (handle.crawls.is_empty or explained):
            self._count(exitcode)
            self._name(handle, exitcode, is_oom)
            self._log(handle, running, is_stopping)
        charged = None if explained else running
        begun = None if exitcode == SERVER_GONE else handle.begun()
        return Death(exitcode, exit_in_words(exitcode, is_oom), charged, is_oom, begun)

    def note_late_start(self, handle: ProcessHandle) -> None:
        """Log that a worker could not even be started in time."""
        self.last = f"{handle.name} could not be started in time"
        logger.error("Worker %s", self.last)

    def _say_that_exits_are_taken(self) -> None:
        if not self._knows_of_taken_exits and self._processes.method != "forkserver":
            self._knows_of_taken_exits = True
            logger.warning(
                "The exit codes of workers go to somebody else, so their deaths cannot be told "
                "apart: something in Scrapy's process ignores SIGCHLD or waits for any child"
            )

    def _count(self, exitcode: int | None) -> None:
        label = exit_label(None if exitcode == SERVER_GONE else exitcode)
        for metrics in self._state.all_metrics():
            metrics.deaths[label] += 1

    def _name(self, handle: ProcessHandle, exitcode: int | None, is_oom: bool) -> None:
        is_server_gone = exitcode == SERVER_GONE
        words = "went with its fork server" if is_server_gone else exit_in_words(exitcode, is_oom)
        late = ", since it was not ready in time" if handle.is_hung else ""
        self.last = f"{handle.title} {words}{late}"

    def _log(self, handle: ProcessHandle, running: int | None, is_stopping: bool) -> None:
        if handle.is_closing and handle.is_ready and running is None:
            logger.error(
                "Worker %s while it closed its pipelines: what they still held is lost", self.last
            )
        elif is_stopping:
            logger.debug("Worker %s", self.last)
        else:
            logger.warning("Worker %s; replacing it", self.last)


def is_explained(handle: ProcessHandle, exitcode: int | None) -> bool:
    """Return whether a worker's end is nobody's fault."""
    return handle.is_killed or exitcode == SERVER_GONE
