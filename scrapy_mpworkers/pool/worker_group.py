"""Lets one crawl or several have workers. All here runs in the event loop's thread.

Nothing waits. What takes long happens in the starter, and comes back as a call.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from functools import partial

from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.interface import Loop, PoolOptions
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.supervisor import Supervisor
from scrapy_mpworkers.pool.task import Future
from scrapy_mpworkers.pool.timeouts import TimeLimit
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.messages import Ending

logger = logging.getLogger(__name__)


class LocalWorkerGroup(GroupState):
    """Has worker processes, for one crawl or for several at once.

    Args:
        options: sizes and limits.
        processes: makes the worker processes.
        loop: an event loop, in whose thread all methods are called. It outlives every crawl.
        ended: called when the last crawl has left and everything is released.
    """

    def __init__(
        self,
        options: PoolOptions,
        processes: Processes,
        loop: Loop,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(options, loop)
        self.task_ids: Iterator[int] = itertools.count()  #: for the tasks of all crawls
        self._processes = processes
        self._ended = ended
        self._supervisor = Supervisor(self, processes)
        self._time_limit = TimeLimit(self)

    # For the crawls

    def admit(self, crawl: int, executor: PoolExecutor) -> None:
        options, others = self.options, len(self.present)
        self.present[crawl] = executor
        self.is_shared = others > 0
        if others:
            logger.info("Sharing %d workers with %s", options.workers, _more_crawls(others))
            self._supervisor.openings.spread()
            return
        count = f"{options.workers} worker{'' if options.workers == 1 else 's'}"
        of_level = "" if options.name == "worker" else f" of the level {options.name}"
        logger.info("Starting %s%s (%s)…", count, of_level, self._processes.method)
        self._supervisor.start_workers()

    def leave(self, crawl: int, timeout: float, left: Callable[[], None], ending: Ending) -> None:
        executor = self.leaving[crawl] = self.present.pop(crawl)
        others = self.present.values()
        self.is_shared = len(others) > 1
        if others:
            logger.info("Leaving the workers to %s", _more_crawls(len(others)))
            self._supervisor.sharing.leave(executor, timeout, left, ending)
            for other in others:
                other.look_for_room()
            return
        # First of all: a handler of the log may start the next crawl, and that would join.
        self.end()
        if executor.is_hasty:
            self._supervisor.kill_all()
        logger.info("Stopping workers…")
        self._supervisor.stop(timeout, partial(self._stopped, left), ending)

    def kill(self, crawl: int) -> None:
        if self.is_shared or self._supervisor.sharing.is_awaiting:
            self._supervisor.sharing.kill_abandoned()
        else:
            self._supervisor.kill_all()

    def is_blocked(self, crawl: int) -> bool:
        if not self.is_shared and not self.leaving:
            return False
        working = [handle for handle in self.handles if handle.may_work_for(crawl)]
        at = [handle.activity().crawl for handle in working]
        return bool(at) and all(other not in (None, crawl) for other in at)

    def watch(self, crawl: int, handle: ProcessHandle) -> None:
        self._time_limit.watch(handle)
        self._supervisor.watchdog.watch()

    def stacks(self, timeout: float) -> Future:
        return self.stack_requests.ask_all(list(self.handles), timeout)

    def abandon(self) -> None:
        """Count no time any more: the loop was closed in the middle of a stop."""
        self.awake.end()

    def _stopped(self, left: Callable[[], None]) -> None:
        logger.info("Workers stopped.")
        self.awake.end()
        self._ended()
        left()


def _more_crawls(count: int) -> str:
    return f"{count} more crawl" + "s" * (count > 1)
