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
from scrapy_mpworkers.pool.worker_state import KilledFor

logger = logging.getLogger(__name__)


class PostMortem:
    """Finds out how workers have ended; ``last`` says it of the last one."""

    def __init__(self, state: GroupState, processes: Processes) -> None:
        self._state = state
        self._processes = processes
        self._oom = OutOfMemoryKills()
        self._knows_of_taken_exits = False
        self.last = ""

    def note(self, handle: ProcessHandle, exitcode: int | None, is_ending: bool) -> Death:
        """Count and log the end of a worker, unless it was meant to go, and say who is to blame."""
        if exitcode == UNKNOWN_EXIT:
            self._say_that_exits_are_taken()
            exitcode = None
        is_server_gone = exitcode == SERVER_GONE
        is_explained = handle.is_killed or is_server_gone
        is_unexplained_kill = exitcode == -signal.SIGKILL and not is_explained
        is_oom = is_unexplained_kill and self._oom.any_since_last_look()
        in_words = exit_in_words(exitcode, is_oom)
        activity = handle.activity()
        has_consumers = bool(handle.open_crawls) or handle.is_opening
        if not handle.is_closing or (has_consumers and not is_explained):
            late = ", since it was not ready in time" if handle.is_hung else ""
            how = "went with its fork server" if is_server_gone else in_words
            self.last = f"{handle.title} {how}{late}"
            for executor in self._state.all_executors():
                label = exit_label(None if is_server_gone else exitcode)
                executor.died(handle, label, f"{how}{late}")
            self._log(handle, activity.task_id, is_ending)
        # Unless we ended the worker, the last task that it has begun, and those before it, may be
        # to blame as long as their outcomes are not here.
        is_ours = is_server_gone or handle.killed_for not in (KilledFor.NONE, KilledFor.STUCK)
        begun = None if is_ours else activity.begun
        suspect = None if is_explained else activity.task_id
        return Death(exitcode, in_words, suspect, is_oom, begun, is_explained)

    def note_late_start(self, handle: ProcessHandle) -> None:
        self.last = f"{handle.name} could not be started in time"
        logger.error("Worker %s", self.last)

    def _say_that_exits_are_taken(self) -> None:
        if not self._knows_of_taken_exits and self._processes.method != "forkserver":
            self._knows_of_taken_exits = True
            logger.warning(
                "The exit codes of workers go to somebody else, so their deaths cannot be told "
                "apart: something in Scrapy's process ignores SIGCHLD or waits for any child"
            )

    def _log(self, handle: ProcessHandle, running: int | None, is_ending: bool) -> None:
        if handle.is_closing and handle.is_ready and running is None:
            logger.error(
                "Worker %s while it closed its pipelines: what they still held is lost", self.last
            )
        elif is_ending:
            logger.debug("Worker %s", self.last)
        elif not handle.is_killed:  # else it was said why
            logger.warning("Worker %s", self.last)
