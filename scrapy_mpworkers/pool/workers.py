"""Defines the interfaces between a crawl's executor and its workers: handles and their group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from scrapy_mpworkers.pool.task import Future
from scrapy_mpworkers.pool.worker_state import Phase
from scrapy_mpworkers.wire.messages import Batch, Ending


class WorkerHandle(ABC):
    """A worker as a crawl sees it, whatever it is.

    Args:
        name: what the workers of its pool are called.
        slot: which of the pool's slots it fills, from 0.
        generation: how many workers have filled that before.

    Attributes:
        pid: of its process; ``None`` before that is there, and of one on another machine.
        known: numbers of the definitions that it has got.
        settled: how many tasks it has settled.
        heard_at: when its last report came, ``time.monotonic()``.
        overdue, stack: the task that took too long, if it is killed for that, and where it was.
    """

    def __init__(self, name: str, slot: int, generation: int) -> None:
        self.slot = slot
        self.generation = generation
        self.pid: int | None = None
        self.name = f"{name}-{slot + 1}" + (f".{generation}" if generation else "")
        self.known: set[int] = set()
        self.settled = 0
        self.heard_at = 0.0
        self.overdue: int | None = None
        self.stack = ""

    @property
    @abstractmethod
    def title(self) -> str:
        """Its name in the texts of errors and warnings."""

    @property
    @abstractmethod
    def open_messages(self) -> int:
        """Return the number of open messages, of all crawls."""

    @property
    @abstractmethod
    def phase(self) -> Phase:
        """Return what it does."""

    @abstractmethod
    def running(self) -> tuple[int | None, float]:
        """Return the task that it is at, as far as that is known, and since when."""

    @abstractmethod
    def may_work_for(self, crawl: int) -> bool:
        """Return whether it may get tasks of a crawl."""

    @abstractmethod
    def send(self, batch: Batch, /) -> None:
        """Send a message, without waiting."""

    @abstractmethod
    def tasks_settled(self, tasks: int, messages: int) -> None:
        """Count *tasks* that it has settled, and *messages* whose last task is settled."""

    @abstractmethod
    def kill_overdue(self, task_id: int, stack: str) -> None:
        """End it, since this task takes longer than it may."""


class WorkerGroup(Protocol):
    """The workers of a pool, which a crawl joins and leaves. They tell its executor what happens.

    Attributes:
        task_ids: for the tasks of all crawls.
        is_shared: whether other crawls have them, too.
        is_watching: whether somebody looks already for workers that are stuck.
    """

    task_ids: Iterator[int]
    is_shared: bool
    is_watching: bool

    @property
    def handles(self) -> Sequence[WorkerHandle]: ...
    def admit(self, crawl: int, executor: Any) -> None:
        """Have workers open the consumers of *crawl*, whose tasks *executor* has."""

    def watch(self, crawl: int, handle: Any) -> None:
        """Watch a worker that has got tasks of a crawl: it may take too long, or be stuck."""

    def is_blocked(self, crawl: int) -> bool:
        """Return whether other crawls keep all workers from this one."""

    def kill(self, crawl: int) -> None:
        """End the workers at once; if other crawls use them, too, only those at tasks that nobody
        awaits."""

    def stacks(self, timeout: float) -> Future:
        """Ask all workers where they are, as an executor's ``stacks`` says."""

    def leave(self, crawl: int, timeout: float, left: Callable[[], None], ending: Ending) -> None:
        """Close the consumers of a crawl within *timeout* seconds, with what they are told of its
        *ending*, and call *left*."""
