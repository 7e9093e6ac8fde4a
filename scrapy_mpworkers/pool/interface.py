"""What a pool is given, what it needs of the event loop, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from scrapy_mpworkers.errors import MPWorkersError, PoolBroken, PoolClosed
from scrapy_mpworkers.pool.batching import NEAR, Pace, Together
from scrapy_mpworkers.pool.task_queue import Entry
from scrapy_mpworkers.wire.messages import Batch, Outcome

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.executor import PoolExecutor
    from scrapy_mpworkers.wire.frames import Large


@dataclass(frozen=True)
class DeadLettered:
    """A task that the pool has given up, in the place of an Outcome.

    ``attempts``: how often it was leased; ``deaths``: how many workers died while they ran it;
    ``worker``: the last one that had it, ``None`` if it never left.
    """

    error: MPWorkersError
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None


class Parcel(Protocol):
    """What crosses of an item or a call.

    ``frame``: its bytes, the definitions that they refer to, and what is of no use here;
    ``results``: of the hops that it has passed; ``size``: bytes of both.
    """

    results: tuple[bytes, ...]
    size: int

    @property
    def frame(self) -> tuple[bytes | Large, tuple[int, ...], Any]: ...


#: Called once for each task.
Settle = Callable[["Outcome | DeadLettered"], None]

#: Makes the error of a task that is given up, from the name of the worker that has it (``None``: it
#: was still waiting).
Why = Callable[["str | None"], MPWorkersError]


def because_stopped(worker: str | None) -> PoolClosed:
    """Why a task is given up that is still there, or comes, when the pool stops."""
    return PoolClosed("the workers have been stopped")


class Loop(Protocol):
    """The event loop. Everything that the pool decides runs in its thread."""

    def call_from_thread(self, function: Callable[[], None]) -> None:
        """Run *function* in the loop's thread soon. The only method for other threads.

        Raises:
            RuntimeError: the loop is closed.
        """

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run *function* in the next turn, behind what is due already. Wakes nobody."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run *function* after *seconds*, unless the loop is closed before."""

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        """Run *function* whenever *fd* can be read, or has ended."""

    def remove_reader(self, fd: int) -> None:
        """Forget *fd*, which is open still."""


@dataclass(frozen=True)
class PoolOptions:
    """What a pool is made of.

    ``redeliver_times``, ``intensity``, ``max_items``: counts; ``period``, ``item_timeout``:
    seconds; ``memory_limit``: bytes. These three limits are off at 0. ``keyed``: tasks with equal
    keys meet the same worker. ``together``: tasks run as one. ``name``: what workers are called.
    ``pace``: how full messages are. ``blind``: nobody can tell which task of a message a worker was
    running when it died.
    """

    workers: int
    redeliver_times: int
    intensity: int
    period: float
    item_timeout: float = 0.0
    max_items: int = 0
    memory_limit: int = 0
    keyed: bool = False
    together: Together | None = None
    name: str = "worker"
    pace: Pace = NEAR
    blind: bool = False


class WorkerHandle(Protocol):
    """A lane as a crawl needs it, whatever its worker is."""

    place: int
    name: str
    known: set[int]
    settled: int
    heard_at: float
    overdue: int | None

    @property
    def title(self) -> str: ...
    @property
    def has_work(self) -> bool: ...
    @property
    def open_messages(self) -> int: ...
    def send(self, order: Batch, /) -> None: ...
    def message_done(self) -> None: ...
    def __hash__(self) -> int: ...


class AnyLimit(Protocol):
    """Ends a worker whose task takes too long. ``is_used``: whether any task has a limit."""

    is_used: bool

    def watch(self, handle: Any, /) -> None:
        """The lane has got work."""


class WorkerGroup(Protocol):
    """A pool as a crawl needs it, whatever its lanes are.

    It calls the crawl's ``opened``, ``took``, ``closed``, ``lane_lost`` and so on in turn.
    """

    task_ids: Iterator[int]

    @property
    def handles(self) -> Sequence[WorkerHandle]: ...
    @property
    def is_shared(self) -> bool: ...
    def admit(self, crawl: int, executor: PoolExecutor) -> None: ...
    def leave(self, crawl: int, timeout: float, left: Callable[[], None]) -> None: ...
    def kill(self, crawl: int) -> None: ...
    def handles_for(self, crawl: int) -> Sequence[WorkerHandle]: ...
    def is_blocked(self, crawl: int) -> bool: ...
    def watch_stuck(self) -> None: ...
    def time_limit(
        self,
        leases: Callable[[WorkerHandle], Iterator[Entry]],
        entry: Callable[[WorkerHandle, int], Entry | None],
    ) -> AnyLimit: ...


class Death(NamedTuple):
    """The end of a worker. ``charged``: the task to blame; ``exitcode`` as ``Process`` has it.

    ``begun``: the last task that may be to blame, with those before it, unless it has settled.
    """

    exitcode: int | None
    in_words: str
    charged: int | None
    out_of_memory: bool = False
    begun: int | None = None


class PoolEvents:
    """What a pool tells its owner. Every method may be overridden; effects are opaque bytes."""

    def opened(self, effects: bytes | None, speaks: bool) -> None:
        """A worker has opened its consumers. Only the first one *speaks* for all."""

    def boot_failed(self, worker: str, failure: bytes) -> None:
        """A worker could not open its consumers."""

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, speaks: bool
    ) -> None:
        """A worker has closed its consumers, or failed to. Only the first one *speaks* for all."""

    def has_room(self, items: int) -> None:
        """There are workers for so many pending items, whatever was thought before."""

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up; so are all tasks."""
