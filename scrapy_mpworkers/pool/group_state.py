"""Holds all that the parts of a group share: its crawls, its workers, its loop and its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import Loop, PoolOptions
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.stacks import StackRequests
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

#: Seconds after which to look again whether enough time has passed.
_BLINK = 0.01


class GroupState:
    """The part of a worker group that all its parts see: crawls, workers, loop and clock.

    Attributes:
        handles: all workers that there are, also those that are starting or ending.
        present: crawls that are there, in the order of their turns.
        leaving: crawls on their way out.
        is_shared: there is more than one crawl.
        is_watching: somebody looks for workers that are stuck.
        stack_requests: asks workers where they are.
        is_ending: nobody can join any more, and no worker is started any more.
    """

    def __init__(self, options: PoolOptions, loop: Loop) -> None:
        self.options = options
        self.loop = loop
        self.awake = Awake()
        self.stack_requests = StackRequests(loop)
        self.handles: list[ProcessHandle] = []
        self.present: dict[int, PoolExecutor] = {}
        self.leaving: dict[int, PoolExecutor] = {}
        self.is_shared = False
        self.is_watching = False
        self.is_ending = False

    def end(self) -> None:
        self.is_ending = True

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call *function* when this process could run for so many seconds."""
        begun, holder = monotonic(), object()

        def look() -> None:
            left = seconds - self.awake.seconds_since(begun)
            if left > 0:
                self.loop.call_later(max(left, _BLINK), look)
            else:
                self.awake.let_go(holder)
                function()

        self.awake.hold(holder)
        self.loop.call_later(seconds, look)

    def all_executors(self) -> list[PoolExecutor]:
        return [*self.present.values(), *self.leaving.values()]

    def executor_of(self, crawl: int) -> PoolExecutor:
        return self.present[crawl] if crawl in self.present else self.leaving[crawl]

    @property
    def sound(self) -> list[PoolExecutor]:
        """Return the crawls that are there and not broken."""
        return [executor for executor in self.present.values() if not executor.is_broken]

    def take_turns(self, executor: PoolExecutor) -> None:
        """Let the other crawls go first, since a worker has finished something of this one."""
        if executor.crawl in self.present:
            self.present[executor.crawl] = self.present.pop(executor.crawl)
        for other in self.present.values():
            if other is not executor:
                other.look_for_room()

    def watching(self, is_watching: bool) -> None:
        self.is_watching = is_watching

    def leases(self, handle: ProcessHandle) -> Iterator[Task]:
        """Iterate over the unsettled tasks that a worker has, of all crawls."""
        for executor in self.all_executors():
            yield from executor.leases(handle)

    def has_parked(self, handle: ProcessHandle) -> bool:
        """Return whether a task waits at a worker until it is to go on."""
        return any(executor.has_parked(handle) for executor in self.all_executors())

    def task(self, handle: ProcessHandle, task_id: int | None) -> Task | None:
        found = (executor.task(handle, task_id) for executor in self.all_executors())
        return next(filter(None, found), None)

    def all_metrics(self) -> list[Metrics]:
        return [executor.metrics for executor in self.all_executors()]
