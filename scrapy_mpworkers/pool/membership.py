"""Who is in a pool: what the pool itself notes of each crawl."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrapy_mpworkers.pool.restarts import RestartIntensity
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.executor import PoolExecutor


@dataclass(eq=False)
class Membership:
    """A crawl in a pool.

    Attributes:
        troubles: fruitless attempts to open its consumers beside those of others.
        has_opened: whether they have been open in any worker.
        is_broken: it gets no more workers, and is about to leave.
        is_hasty: it will not wait for its consumers' close.
        awaited: while it leaves: lanes that have yet to close its consumers.
        left: called when none of these is left.
    """

    crawl: int
    executor: PoolExecutor
    troubles: RestartIntensity
    has_opened: bool = False
    is_broken: bool = False
    is_hasty: bool = False
    awaited: set[ProcessHandle] = field(default_factory=set)
    left: Callable[[], None] | None = None


class Members:
    """The crawls that are there, in the order of their turns, and those on their way out."""

    def __init__(self) -> None:
        self.present: dict[int, Membership] = {}
        self.leaving: dict[int, Membership] = {}

    def __iter__(self) -> Iterator[Membership]:
        return iter([*self.present.values(), *self.leaving.values()])

    def of(self, crawl: int) -> Membership:
        """That of a crawl."""
        return self.present[crawl] if crawl in self.present else self.leaving[crawl]

    @property
    def sound(self) -> list[Membership]:
        """Those that workers are for."""
        return [member for member in self.present.values() if not member.is_broken]

    def comes_last(self, crawl: int) -> None:
        """It is the turn of the others."""
        if crawl in self.present:
            self.present[crawl] = self.present.pop(crawl)

    def want(self, task_id: int, handle: ProcessHandle) -> bool:
        """Whether anybody waits for a task that *lane* has."""
        return any(member.executor.has(handle, task_id) for member in self)
