"""Defines the interfaces between a pool and its users: loop, options, events and executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol

from scrapy_mpworkers.errors import MPWorkersError, PoolBroken, PoolClosed
from scrapy_mpworkers.pool.batching import NEAR, Batched, Pace, Room
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.recent import Recent
from scrapy_mpworkers.pool.task import Future, Task
from scrapy_mpworkers.pool.worker_state import Phase
from scrapy_mpworkers.wire.messages import Attributes, Ending, FrameData, Outcome


@dataclass(frozen=True)
class DeadLettered:
    """A task that the pool has given up; it replaces an Outcome. ``attempts``: how often it was
    leased; ``deaths``: how many workers died while they ran it; ``worker``: the last one that had
    it, ``None`` if it never left."""

    error: MPWorkersError
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None


def resolve(future: Future, value: Any = None) -> None:
    """Give *future* its result, unless the wait for it was cancelled."""
    if not future.done():
        future.set_result(value)


#: Makes the error of a task that is given up, from the name of the worker that has it (``None``: it
#: was still waiting).
Why = Callable[["str | None"], MPWorkersError]


def because_stopped(worker: str | None) -> PoolClosed:
    """Return the error of a task that is still there, or comes, when the pool stops."""
    return PoolClosed("the workers have been stopped")


class Loop(Protocol):
    """The event loop. Everything that the pool decides runs in its thread."""

    #: Makes a future of this loop.
    create_future: Callable[[], Future]
    #: Runs a function in the next turn, behind all that is due already. Does not wake the loop.
    call_soon: Callable[[Callable[[], None]], object]

    def call_from_thread(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread soon. The only method for other threads.

        Raises:
            RuntimeError: the loop is closed.
        """

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run *function* after *seconds*, unless the loop is closed before."""

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        """Run *function* whenever *fd* can be read, or has ended."""

    def remove_reader(self, fd: int) -> None:
        """Forget *fd*, which is open still."""


@dataclass(frozen=True)
class PoolOptions:
    """Sizes and limits of a pool.

    ``redeliver_times``, ``intensity``, ``max_items``: counts; ``period``, ``item_timeout``:
    seconds; ``memory_limit``: bytes. Items, time and memory have no limit at 0. ``keyed``: tasks
    with equal keys meet the same worker. ``batched``: how tasks run as one. ``name``: what workers
    are called. ``pace``: how full messages are. ``blind``: nobody knows which task was running.
    """

    workers: int
    redeliver_times: int
    intensity: int
    period: float
    item_timeout: float = 0.0
    max_items: int = 0
    memory_limit: int = 0
    keyed: bool = False
    batched: Batched | None = None
    name: str = "worker"
    pace: Pace = NEAR
    blind: bool = False


class Death(NamedTuple):
    """The end of a worker. ``exitcode`` as ``Process`` has it; ``suspect``: the task to blame;
    ``begun``: the last task that may be to blame, with those before it, unless its outcome is here;
    ``is_explained``: the end is nobody's fault."""

    exitcode: int | None
    in_words: str
    suspect: int | None
    out_of_memory: bool = False
    begun: int | None = None
    is_explained: bool = False


class PoolEvents:
    """Is told by a pool what happens. Every method may be overridden; effects are opaque bytes."""

    def opened(self, effects: bytes | None, is_first: bool) -> None:
        """A worker has opened its consumers. One that *is_first* speaks for all."""

    def boot_failed(self, worker: str, failure: bytes) -> None:
        """A worker could not open its consumers."""

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, is_first: bool
    ) -> None:
        """A worker has closed its consumers, or failed to. One that *is_first* speaks for all."""

    def came(self, task: Task, outcome: Outcome) -> None:
        """A part of what a task gives has come, with ``MORE`` behind it: it waits for ``go_on``."""
        resolve(task.future, outcome)

    def settled(self, task: Task, outcome: Outcome | DeadLettered) -> None:
        """A task has its outcome, which is the result of its future."""
        resolve(task.future, outcome)

    def label(self, task: Task) -> str:
        """Return what names a task for those who read of it."""
        return ""

    def has_room(self, room: Room) -> None:
        """Hear how many items may be pending at the workers' pace, if nobody has set a bound."""

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up, and with it all tasks."""


class WorkerView(NamedTuple):
    """A worker as it is now. ``task``: of this crawl, that it is at since ``since``
    (``time.monotonic()``), as far as that is known; ``busy``: seconds that its slot has been at
    tasks of this crawl that are over; ``restarts``: workers of its slot before."""

    name: str
    pid: int | None
    phase: Phase
    task: Task | None
    since: float
    settled: int
    busy: float
    restarts: int


class Executor(ABC):
    """Has the tasks of a level done. All is called in the crawl's thread, and nothing waits.

    Attributes:
        metrics: of this crawl.
        recent: what has happened of late.
    """

    metrics: Metrics
    recent: Recent

    @property
    @abstractmethod
    def settled_at(self) -> float:
        """Return when a task was last settled (``time.monotonic()``); or now, while all workers
        open or close consumers of other crawls."""

    @abstractmethod
    def start(self) -> None:
        """Begin; the events' ``opened`` or ``boot_failed`` follows.

        Raises:
            Exception: what a worker must know of the crawl cannot be pickled.
        """

    @abstractmethod
    def submit(
        self,
        hop: int,
        frame: FrameData,
        needs: tuple[int, ...],
        results: tuple[bytes, ...],
        attributes: Attributes | None,
        size: int,
        key: Any = None,
        limit: float | None = None,
        subject: Any = None,
        future: Future | None = None,
    ) -> Task:
        """Take a task. Its future gets its outcome, never from within this call.

        Args:
            hop: where it goes.
            frame: what was pickled.
            needs: the definitions that *frame* refers to.
            results: of the hops that the item has passed.
            attributes: of the spider that have changed.
            size: bytes of *frame* and *results*.
            key: tasks with equal keys meet the same worker, if the level has keys.
            limit: seconds that it may take, if not those of the level.
            subject: what the task is about, by which :meth:`PoolEvents.label` names it.
            future: whoever waits already waits for this one; else the task gets a new one.
        """

    @abstractmethod
    def go_on(self, task: Task, is_over: bool = False) -> None:
        """Have a task go on that has given a part of its results. It gets a new future, for what
        comes next. If it *is_over* for whoever wanted it, its worker ends it instead."""

    @abstractmethod
    def withdraw(self, task: Task) -> None:
        """Forget a task that nobody waits for any more, unless a worker has it already."""

    @abstractmethod
    def flush(self) -> None:
        """Send the waiting tasks soon, whether or not they fill a message."""

    @abstractmethod
    def stop_batching(self) -> None:
        """From now on send tasks without waiting until they fill a message."""

    @abstractmethod
    def look(self) -> list[WorkerView]:
        """Return the workers that there are, and what each of them is at."""

    def running(self) -> list[float]:
        """Return for how many seconds workers have been at the tasks that they are at now."""
        now = monotonic()
        return [max(0.0, now - view.since) for view in self.look() if view.task is not None]

    @abstractmethod
    def overdue(self) -> list[tuple[Task, str, float]]:
        """Return the tasks that workers hold: task, worker, seconds since that got it."""

    @abstractmethod
    def stacks(self, timeout: float) -> Future:
        """Ask all workers where they are; the future gets a text of each by its name, in time."""

    @abstractmethod
    def give_up(self, why: Why) -> None:
        """Settle every pending task with the error that *why* makes, and every later one too."""

    @abstractmethod
    def kill(self) -> None:
        """Give up every task, and end the workers at once, or those of them that are at one of
        these tasks if other crawls have them, too. Then :meth:`stop` waits for nothing else."""

    @abstractmethod
    def stop(self, timeout: float, stopped: Callable[[], None], ending: Ending) -> None:
        """Give up what is pending, let the consumers close, and call *stopped*.

        Args:
            timeout: seconds after which workers that have not closed them are terminated.
            ending: what their consumers are told as they close.
        """
