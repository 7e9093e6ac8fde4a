"""What a pool is given, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scrapy_mpworkers.errors import MPWorkersError, PoolBroken
from scrapy_mpworkers.wire.messages import Outcome


@dataclass(frozen=True)
class GivenUp:
    """A task that the pool has given up, in the place of an Outcome.

    ``attempts``: how often it was leased; ``deaths``: how many workers died while they ran it;
    ``worker``: the last one that had it, ``None`` if it never left.
    """

    error: MPWorkersError
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None


#: Called once for each task.
Settle = Callable[["Outcome | GivenUp"], None]


@dataclass(frozen=True)
class PoolOptions:
    """What a pool is made of.

    ``redeliver_times``, ``intensity``, ``max_items``: counts; ``period``, ``item_timeout``:
    seconds; ``memory_limit``: bytes. The last three are off at 0.
    """

    workers: int
    redeliver_times: int
    intensity: int
    period: float
    item_timeout: float = 0.0
    max_items: int = 0
    memory_limit: int = 0


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

    def broken(self, error: PoolBroken) -> None:
        """The pool has given up; so are all tasks."""
