"""The workers, for one crawl or for several at once. All here runs in the event loop's thread.

Nothing waits. What takes long happens in the starter, and comes back as a call.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import util
from typing import TYPE_CHECKING

from scrapy_mpworkers.errors import PoolBroken
from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.departures import Departures
from scrapy_mpworkers.pool.interface import Death, Loop, PoolOptions
from scrapy_mpworkers.pool.membership import Members, Membership
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.openings import Openings
from scrapy_mpworkers.pool.recycling import Recycling
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.supervisor import SEE_IT, Supervisor
from scrapy_mpworkers.pool.task_queue import Entry
from scrapy_mpworkers.pool.timeouts import OpeningLimit, StuckHandles, TimeLimit
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.messages import Closed, Opened, OpenFailed, Outcomes, Report

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.executor import PoolExecutor

logger = logging.getLogger(__name__)

#: Seconds after which the starter's last job is not waited for any more: its thread may hang in a
#: start that does not end.
RELEASE_SECONDS = 15.0


class LocalWorkerGroup:
    """Worker processes, and the crawls that they work for.

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
        self.loop = loop
        self.awake = Awake()
        self.task_ids: Iterator[int] = itertools.count()  #: for the tasks of all crawls
        self.is_ending = False  #: nobody can join any more
        self._options = options
        self._processes = processes
        self._ended = ended
        self._members = Members()
        self._is_released = False

    # For the crawls

    def admit(self, crawl: int, executor: PoolExecutor) -> None:
        """A crawl wants its consumers opened, in workers that are started now or there already."""
        options, others = self._options, len(self._members.present)
        troubles = RestartIntensity(options.intensity, options.period)
        self._members.present[crawl] = Membership(crawl, executor, troubles)
        if not others:
            self._start()
            return
        logger.info("Sharing %d workers with %s", options.workers, _more_crawls(others))
        self._openings.spread()

    def leave(self, crawl: int, timeout: float, left: Callable[[], None]) -> None:
        """A crawl has ended: close its consumers. Behind the last one, end the workers.

        Args:
            timeout: seconds that workers may take for it.
            left: called when they have done so.
        """
        member = self._members.present.pop(crawl)
        others = self._members.present.values()
        if others:
            logger.info("Leaving the workers to %s", _more_crawls(len(others)))
            self._departures.begin(member, timeout, left)
            for other in others:
                other.executor.look_for_room()
            return
        self.is_ending = True
        self._members.leaving[crawl] = member
        if member.is_hasty:
            self._supervisor.kill_all()
        self._stop(timeout, left)

    def kill(self, crawl: int) -> None:
        """End all workers at once; if other crawls have them, too, only those that are at a task
        that nobody waits for any more. The crawl that asks will not wait for its consumers."""
        self._members.of(crawl).is_hasty = True
        if self.is_shared or any(member.awaited for member in self._members):
            self._departures.kill_abandoned()
        else:
            self.is_ending = True
            self._supervisor.kill_all()

    @property
    def handles(self) -> list[ProcessHandle]:
        """All that there are, also those that are starting or ending."""
        return self._supervisor.handles

    def handles_for(self, crawl: int) -> list[ProcessHandle]:
        """The lanes that may get work of a crawl."""
        return [
            handle for handle in self.handles if crawl in handle.open_for and not handle.closing
        ]

    @property
    def is_shared(self) -> bool:
        """Whether there is more than one crawl."""
        return len(self._members.present) > 1

    def is_blocked(self, crawl: int) -> bool:
        """Whether every worker of a crawl is opening or closing the consumers of another."""
        if not self.is_shared and not self._members.leaving:
            return False
        at = [handle.at_consumers_of() for handle in self.handles_for(crawl)]
        return bool(at) and all(other not in (None, crawl) for other in at)

    def time_limit(
        self,
        leases: Callable[[ProcessHandle], Iterator[Entry]],
        entry: Callable[[ProcessHandle, int], Entry | None],
    ) -> TimeLimit:
        """What ends a worker whose task takes too long."""
        return TimeLimit(leases, entry, self.loop.call_later, self.awake)

    def watch_stuck(self) -> None:
        """A lane has got work."""
        self._stuck.watch()

    # What the supervisor needs of its owner

    def call_in_loop(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread; nothing if the loop is already closed."""
        with suppress(RuntimeError):
            self.loop.call_from_thread(function)

    def _starter_died(self, error: BaseException) -> None:
        # In the starter's thread.
        self.call_in_loop(lambda: self._supervisor.starter_died(error))

    def all_figures(self) -> list[Metrics]:
        """Those of each crawl, which all count what happens to the workers."""
        return [member.executor.metrics for member in self._members]

    def handle_made(self, handle: ProcessHandle) -> None:
        """A worker is about to be started."""
        self._opening_limit.watch(handle)

    def handle_started(self, handle: ProcessHandle) -> None:
        """It lives, and knows nothing."""
        self._openings.boot(handle)

    def handle_lost(self, handle: ProcessHandle, death: Death) -> bool:
        """A lane is gone. Whether a crawl is to blame whose trouble is its own."""
        is_ones_own = self._openings.blames(handle, death.in_words) or self._is_of_one_task(death)
        for member in self._members:
            member.executor.handle_lost(handle, death)
            if member.crawl in handle.open_for:
                self._is_closed_in(handle, member)
            self._departures.closed_in(handle, member)
        self.loop.call_soon(self._openings.spread)  # when its replacement is there
        return is_ones_own and not self.is_ending

    def _is_of_one_task(self, death: Death) -> bool:
        """Whether a task is to blame whose crawl is not alone here: its items are given up one by
        one, and the others, which may not have had a worker for long enough yet, go on."""
        is_known = death.charged is not None or death.begun is not None
        return is_known and len(self._members.sound) > 1

    def handles_exhausted(self, history: str, advice: str) -> None:
        """Workers die without any progress, or cannot be started: the pool is broken."""
        self.is_ending = True
        for member in self._members.sound:
            self._break_off(member, history, advice)
        self._supervisor.kill_all()

    # Start and end

    def _start(self) -> None:
        options, members = self._options, self._members
        self._processes.take_server()
        self._starter = Starter(self._starter_died)
        self._watcher = Watcher(
            self.loop, self._on_report, lambda *end: self._supervisor.ended(*end)
        )
        self._restarts = RestartIntensity(options.intensity, options.period)
        self._supervisor = Supervisor(
            self, self._processes, self._restarts, self._watcher, self._starter, options.name
        )

        def handles() -> list[ProcessHandle]:
            return self.handles

        hear, later, awake = self._watcher.hear, self.loop.call_later, self.awake
        kill_server = self._processes.kill_server
        self._opening_limit = OpeningLimit(handles, hear, kill_server, later, awake)
        self._openings = Openings(members, handles, self._opening_limit, self._break_off, self.loop)
        self._departures = Departures(members, handles, self.loop, awake)
        self._recycling = Recycling(options.max_items, options.memory_limit)
        self._stuck = StuckHandles(handles, self._oldest_lease, hear, later, awake)
        # Before multiprocessing's own exit handler, which terminates and *joins*: a busy worker
        # would keep an interrupted crawl waiting.
        self._at_exit = util.Finalize(None, self._supervisor.exit_now, exitpriority=100)
        logger.info("Starting %d workers (%s)…", options.workers, self._processes.method)
        self._supervisor.man(options.workers)

    def _stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills, join, release everything. After *timeout* seconds: terminate, kill."""
        logger.info("Stopping workers…")

        def all_ended() -> None:
            self._starter.do(release)
            self._starter.end()
            self.loop.call_later(RELEASE_SECONDS, done)

        def release() -> None:
            # In the starter's thread.
            self._processes.close()
            self._at_exit.cancel()
            self.call_in_loop(done)

        def done() -> None:
            if self._is_released:
                return
            self._is_released = True
            logger.info("Workers stopped.")
            self.awake.end()
            self._ended()
            stopped()

        self._supervisor.stop(timeout, all_ended)

    # Events

    def _on_report(self, handle: ProcessHandle, report: Report, size: int) -> None:
        member = self._members.of(report.crawl)
        if self.is_shared:
            self._take_turns(member)
        if isinstance(report, Outcomes):
            self._on_outcomes(handle, member, report, size)
        elif isinstance(report, Opened):
            self._openings.opened(handle, member)
            self._look_if_booted(handle)
            member.executor.opened(handle, report)
        elif isinstance(report, OpenFailed):
            self._openings.failed(handle, member)
            self._look_if_booted(handle)
            member.executor.open_failed(handle, report)
        elif isinstance(report, Closed):
            member.executor.closed(handle, report)
            self._is_closed_in(handle, member)
            self._departures.closed_in(handle, member)

    def _on_outcomes(
        self, handle: ProcessHandle, member: Membership, report: Outcomes, size: int
    ) -> None:
        self._restarts.progress()
        member.troubles.progress()
        member.executor.took(handle, report.outcomes, size)
        if (why := self._recycling.reason(handle)) is not None:
            self._supervisor.recycle(handle, why)

    def _take_turns(self, member: Membership) -> None:
        """A lane has done with something: it is the turn of the others, ahead of this crawl."""
        self._members.comes_last(member.crawl)
        for other in self._members.present.values():
            if other is not member:
                other.executor.look_for_room()

    def _look_if_booted(self, handle: ProcessHandle) -> None:
        if handle.open_for and not handle.opening and not handle.ready:
            self._supervisor.became_ready(handle)
            self._recycling.weigh_new(handle)

    def _is_closed_in(self, handle: ProcessHandle, member: Membership) -> None:
        if handle.closed(member.crawl):
            member.executor.left(handle)
        others = (other for other in self.handles if other.place == handle.place)
        if not any(member.crawl in other.open_for for other in others):
            member.executor.not_ready(handle.place)

    def _break_off(self, member: Membership, history: str, advice: str = SEE_IT) -> None:
        member.is_broken = True
        member.executor.broken(PoolBroken(f"the worker pool is broken: {history}. {advice}"))

    def _oldest_lease(self, handle: ProcessHandle) -> Entry | None:
        leases = [member.executor.oldest_lease(handle) for member in self._members]
        return min(filter(None, leases), key=lambda entry: entry.leased_at, default=None)


def _more_crawls(count: int) -> str:
    return f"{count} more crawl" + "s" * (count > 1)
