"""The workers, for one crawl or for several at once. All here runs in the event loop's thread.

Nothing waits. What takes long happens in the starter, and comes back as a call.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from typing import TYPE_CHECKING

from scrapy_mpworkers.errors import PoolBroken
from scrapy_mpworkers.pool.figures import Figures
from scrapy_mpworkers.pool.interface import Loop, PoolOptions
from scrapy_mpworkers.pool.lane import Lane
from scrapy_mpworkers.pool.ledger import Entry
from scrapy_mpworkers.pool.limits import StuckLanes
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.pool.recycling import Recycling
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.starter import Starter
from scrapy_mpworkers.pool.supervisor import Death, Supervisor
from scrapy_mpworkers.pool.watcher import Watcher
from scrapy_mpworkers.wire.messages import Closed, Opened, OpenFailed, Outcomes, Report, Setup

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.tenant import Tenant

logger = logging.getLogger(__name__)


@dataclass
class _Leaving:
    """A crawl on its way out, until no lane has anything of it.

    ``awaited``: lanes that have yet to close its consumers; ``left`` is called when none has.
    """

    tenant: Tenant
    awaited: set[Lane]
    left: Callable[[], None] | None


class Pool:
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
        self.task_ids = itertools.count()  #: for the tasks of all crawls
        self.is_ending = False  #: nobody can join any more
        self._options = options
        self._processes = processes
        self._ended = ended
        self._tenants: dict[int, Tenant] = {}
        self._leaving: dict[int, _Leaving] = {}
        self._hasty: set[int] = set()  # crawls that will not wait for their consumers' close
        self._broken: set[int] = set()
        self._suspects: set[int] = set()  # crawls that were being opened when a worker died

    # For the crawls

    def join(self, crawl: int, tenant: Tenant) -> None:
        """A crawl wants its consumers opened, in workers that are started now or there already."""
        is_first = not self._tenants
        self._tenants[crawl] = tenant
        if is_first:
            self._start()
            return
        logger.info(
            "Sharing %d workers with %d more crawls", self._options.workers, len(self._tenants) - 1
        )
        for lane in self.lanes:
            if lane.is_booted:
                tenant.figures.started += 1
                if not lane.closing:
                    lane.set_up(tenant.setup())
                    self._supervisor.expect_opened(lane, crawl)

    def leave(self, crawl: int, timeout: float, left: Callable[[], None]) -> None:
        """A crawl has ended: close its consumers. Behind the last one, end the workers.

        Args:
            timeout: seconds that workers may take for it.
            left: called when they have done so.
        """
        tenant = self._tenants.pop(crawl)
        if not self._tenants:
            self._leaving[crawl] = _Leaving(tenant, set(), None)
            self._stop(timeout, left)
            return
        logger.info("Leaving the workers to %d more crawls", len(self._tenants))
        waits = crawl not in self._hasty
        awaited = {lane for lane in self.lanes if crawl in lane.open_for and waits}
        self._leaving[crawl] = _Leaving(tenant, awaited, left)
        for lane in self.lanes:
            if lane.has_of(crawl) and not lane.closing:
                lane.dismiss(crawl)
        for other in self._tenants.values():
            other.look_for_room()
        self.loop.call_later(timeout, lambda: self._leave_anyway(crawl))
        self.loop.call_soon(lambda: self._leave_if_closed(crawl))

    def kill(self, crawl: int) -> None:
        """End all workers at once; if other crawls have them, too, only those that are at a task
        that nobody waits for any more."""
        if self._tenants.keys() - {crawl} or any(one.awaited for one in self._leaving.values()):
            self._hasty.add(crawl)
            for lane in self.lanes:
                if lane.is_booted and self._is_at_abandoned_task(lane):
                    lane.kill_for_good()
        else:
            self.is_ending = True
            self._supervisor.kill_all()

    @property
    def lanes(self) -> list[Lane]:
        """All that there are, also those that are starting or ending."""
        return self._supervisor.lanes

    def lanes_for(self, crawl: int) -> list[Lane]:
        """The lanes that may get work of a crawl."""
        return [lane for lane in self.lanes if crawl in lane.open_for and not lane.closing]

    @property
    def is_shared(self) -> bool:
        """Whether there is more than one crawl."""
        return len(self._tenants) > 1

    def watch_stuck(self) -> None:
        """A lane has got work."""
        self._stuck.watch()

    # What the supervisor needs of its owner

    def call_in_loop(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread; nothing if the loop is already closed."""
        with suppress(RuntimeError):
            self.loop.call_from_thread(function)

    def setups(self) -> Sequence[Setup]:
        """What a new worker must know."""
        found = []
        for crawl, tenant in self._tenants.items():
            if crawl not in self._broken:
                try:
                    found.append(tenant.setup())
                except Exception as error:  # classes of that crawl run their own code there
                    self._break(crawl, f"a worker cannot be told of the crawl any more: {error!r}")
        return found

    def all_figures(self) -> list[Figures]:
        """Those of each crawl, which all count what happens to the workers."""
        return [tenant.figures for _, tenant in self._everybody()]

    def lane_lost(self, lane: Lane, death: Death) -> None:
        """A lane is gone."""
        if lane.opening and (lane.hung or not lane.killed):
            self._suspects.add(next(iter(lane.opening)))
        for crawl, tenant in self._everybody():
            if tenant.lane_lost(lane, death):
                self._restarts.progress()
            if crawl in lane.open_for:
                self._is_closed_in(lane, crawl, tenant)
            self._leave_if_closed(crawl, lane)
        self.loop.call_soon(self._look_for_stranded)  # when its replacement is there

    def spare_others(self, lane: Lane, history: str) -> bool:
        """Workers die without any progress, *lane* was the last. Break the crawls that they died
        of while they opened their consumers, if that leaves others to go on for."""
        sound = self._tenants.keys() - self._broken
        if sound and next(iter(lane.opening), None) in self._broken:
            return True  # it was at one that has been broken meanwhile
        guilty = {crawl for crawl in sound & self._suspects if not self.lanes_for(crawl)}
        if not guilty or guilty == sound:
            return False
        for crawl in guilty:
            self._break(crawl, history)
        return True

    def lanes_exhausted(self, history: str) -> None:
        """Workers die without any progress: the pool is broken."""
        self.is_ending = True
        for crawl in self._tenants.keys() - self._broken:
            self._break(crawl, history)
        self._supervisor.kill_all()

    # Start and end

    def _start(self) -> None:
        options = self._options
        self._processes.take_server()
        starter = self._starter = Starter()
        self._watcher = Watcher(
            self.loop, self._on_report, lambda *end: self._supervisor.ended(*end)
        )
        self._restarts = RestartIntensity(options.intensity, options.period)
        self._supervisor = Supervisor(
            self, self._processes, self._restarts, self._watcher, starter, options.name
        )
        self._recycling = Recycling(options.max_items, options.memory_limit)
        self._stuck = StuckLanes(
            lambda: self.lanes, self._oldest_lease, self._watcher.hear, self.loop.call_later
        )
        # Before multiprocessing's own exit handler, which terminates and *joins*: a busy worker
        # would keep an interrupted crawl waiting.
        self._at_exit = util.Finalize(None, self._supervisor.exit_now, exitpriority=100)
        logger.info("Starting %d workers (%s)…", options.workers, self._processes.method)
        self._supervisor.man(options.workers)

    def _stop(self, timeout: float, stopped: Callable[[], None]) -> None:
        """Send pills, join, release everything. After *timeout* seconds: terminate, kill."""
        logger.info("Stopping workers…")
        self.is_ending = True

        def all_ended() -> None:
            self._starter.do(release)
            self._starter.end()

        def release() -> None:
            # In the starter's thread.
            self._processes.close()
            self._at_exit.cancel()
            self.call_in_loop(done)

        def done() -> None:
            logger.info("Workers stopped.")
            self._ended()
            stopped()

        self._supervisor.stop(timeout, all_ended)

    # Events

    def _on_report(self, lane: Lane, report: Report, size: int) -> None:
        tenant = self._tenant(report.crawl)
        if self.is_shared:
            self._take_turns(report.crawl)
        if isinstance(report, Outcomes):
            self._restarts.progress()
            tenant.took(lane, report.outcomes, size)
            if (why := self._recycling.reason(lane)) is not None:
                self._supervisor.recycle(lane, why)
        elif isinstance(report, Opened):
            lane.answered(report.crawl)
            lane.open_for.add(report.crawl)
            self._suspects.discard(report.crawl)
            self._look_if_booted(lane)
            tenant.opened(lane, report)
        elif isinstance(report, OpenFailed):
            lane.answered(report.crawl)
            self._look_if_booted(lane)
            tenant.open_failed(lane, report)
            self._look_for_stranded()
        elif isinstance(report, Closed):
            tenant.closed(lane, report)
            self._is_closed_in(lane, report.crawl, tenant)
            self._leave_if_closed(report.crawl, lane)
            self._look_for_stranded()

    def _take_turns(self, crawl: int) -> None:
        """A lane has done with something: it is the turn of the others, *crawl* comes last."""
        if crawl in self._tenants:
            self._tenants[crawl] = self._tenants.pop(crawl)
        for other, tenant in self._tenants.items():
            if other != crawl:
                tenant.look_for_room()

    def _look_if_booted(self, lane: Lane) -> None:
        if lane.open_for and not lane.opening and not lane.ready:
            self._supervisor.became_ready(lane)
            self._recycling.weigh_new(lane)

    def _look_for_stranded(self) -> None:
        """Break crawls that none of the workers serves, though they work for others."""
        if self.is_ending or not any(lane.open_for for lane in self.lanes):
            return  # those that could open nothing exit, and are replaced
        for crawl in self._tenants.keys() - self._broken:
            if not any(lane.has_of(crawl) or not lane.is_booted for lane in self.lanes):
                self._break(crawl, "none of its workers could open the crawl's pipelines")

    def _is_closed_in(self, lane: Lane, crawl: int, tenant: Tenant) -> None:
        lane.open_for.discard(crawl)
        if lane.was_dismissed(crawl):
            tenant.left(lane)
        if not any(crawl in other.open_for for other in self.lanes if other.place == lane.place):
            tenant.not_ready(lane.place)

    def _break(self, crawl: int, history: str) -> None:
        self._broken.add(crawl)
        error = PoolBroken(
            f"the worker pool is broken: {history}. Look for the first error of a worker in the "
            "log, or run in one process to see it: -s MPWORKERS_WORKERS=0"
        )
        self._tenants[crawl].broken(error)

    # Who leaves

    def _leave_if_closed(self, crawl: int, lane: Lane | None = None) -> None:
        """*lane* need not be waited for any more."""
        leaving = self._leaving.get(crawl)
        if leaving is None:
            return
        if lane is not None:
            leaving.awaited.discard(lane)
        if not leaving.awaited and leaving.left is not None:
            left, leaving.left = leaving.left, None
            left()
        if self._tenants and not any(one.has_of(crawl) for one in self.lanes):
            del self._leaving[crawl]

    def _leave_anyway(self, crawl: int) -> None:
        """The time is up. A worker that is at no task must be stuck in the close."""
        leaving = self._leaving.get(crawl)
        if leaving is None or leaving.left is None:
            return
        for lane in leaving.awaited:
            if lane.running() is None or self._is_at_abandoned_task(lane):
                logger.warning("Worker %s did not close in time and is killed", lane.title)
                lane.kill_for_good()
        leaving.awaited.clear()
        self._leave_if_closed(crawl)

    # Whose

    def _tenant(self, crawl: int) -> Tenant:
        return self._tenants[crawl] if crawl in self._tenants else self._leaving[crawl].tenant

    def _everybody(self) -> list[tuple[int, Tenant]]:
        leaving = [(crawl, one.tenant) for crawl, one in self._leaving.items()]
        return [*self._tenants.items(), *leaving]

    def _is_at_abandoned_task(self, lane: Lane) -> bool:
        running = lane.running()
        return running is not None and not any(
            one.has(lane, running) for _, one in self._everybody()
        )

    def _oldest_lease(self, lane: Lane) -> Entry | None:
        leases = [tenant.oldest_lease(lane) for _, tenant in self._everybody()]
        return min(filter(None, leases), key=lambda entry: entry.leased_at, default=None)
