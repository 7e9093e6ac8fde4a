"""Holds all that the parts of a group share: its crawls, its workers, its loop and its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from scrapy_mpworkers.errors import PoolBroken
from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import Loop, PoolOptions
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.task_queue import Task
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

#: What to do about workers that die.
SEE_IT = (
    "Look for the first error of a worker in the log, or run in one process to see it: "
    "-s MPWORKERS_WORKERS=0"
)


@dataclass(eq=False)
class Member:
    """A crawl in a group.

    Attributes:
        troubles: fruitless attempts to open its consumers beside those of others.
        is_broken: it gets no more workers, and is about to leave.
        is_hasty: it will not wait for its consumers' close.
    """

    crawl: int
    executor: PoolExecutor
    troubles: RestartIntensity
    is_broken: bool = False
    is_hasty: bool = False

    def may_fail(self) -> bool:
        """Return whether to try again what could not be opened somewhere."""
        return self.troubles.allows(monotonic(), reports=self.executor.metrics.reports)

    def make_hasty(self) -> None:
        self.is_hasty = True

    def break_off(self, history: str, advice: str = SEE_IT) -> None:
        """Tell the crawl that nothing comes of it any more."""
        self.is_broken = True
        self.executor.broken(PoolBroken(f"the worker pool is broken: {history}. {advice}"))


class GroupState:
    """The part of a worker group that all its parts see: crawls, workers, loop and clock.

    Attributes:
        handles: all workers that there are, also those that are starting or ending.
        present: crawls that are there, in the order of their turns.
        leaving: crawls on their way out.
        is_shared: there is more than one crawl.
        is_watching: somebody looks for workers that are stuck.
        is_ending: nobody can join any more, and no worker is started any more.
    """

    def __init__(self, options: PoolOptions, loop: Loop) -> None:
        self.options = options
        self.loop = loop
        self.awake = Awake()
        self.handles: list[ProcessHandle] = []
        self.present: dict[int, Member] = {}
        self.leaving: dict[int, Member] = {}
        self.is_shared = False
        self.is_watching = False
        self.is_ending = False

    def end(self) -> None:
        self.is_ending = True

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call *function* when this process could run for so many seconds."""
        self.awake.later(seconds, function, self.loop.call_later)

    def all_members(self) -> list[Member]:
        return [*self.present.values(), *self.leaving.values()]

    def member(self, crawl: int) -> Member:
        return self.present[crawl] if crawl in self.present else self.leaving[crawl]

    @property
    def sound(self) -> list[Member]:
        """The crawls that workers are for."""
        return [member for member in self.present.values() if not member.is_broken]

    def take_turns(self, member: Member) -> None:
        """Let the others go first: a worker has done with something of this crawl."""
        if member.crawl in self.present:
            self.present[member.crawl] = self.present.pop(member.crawl)
        for other in self.present.values():
            if other is not member:
                other.executor.look_for_room()

    def watching(self, is_watching: bool) -> None:
        self.is_watching = is_watching

    def leases(self, handle: ProcessHandle) -> Iterator[Task]:
        """Iterate over the unsettled tasks that a worker has, of all crawls."""
        for member in self.all_members():
            yield from member.executor.leases(handle)

    def task(self, handle: ProcessHandle, task_id: int | None) -> Task | None:
        return next((task for task in self.leases(handle) if task.id == task_id), None)

    def all_metrics(self) -> list[Metrics]:
        return [member.executor.metrics for member in self.all_members()]
