"""Counts each item of a crawl once, however many hops it comes to.

An item that leaves a copy at a level that the crawl does not wait for counts when the copy has its
outcome as well, by the worse of the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.pool.metrics import TaskCounts
from scrapy_mpworkers.wire.messages import Outcome, TaskStatus


class ItemTotals:
    """Counts the items of one crawl.

    Args:
        plain_hops: those that are alone on their route, by its number. Nothing is counted on the
            way to them, as an item's outcome is that of the hop.
        first_route: where items come first.
        begun: how many items of an earlier run have gone on at each later route.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        plain_hops: Mapping[int, Hop],
        first_route: int,
        begun: Counter[int],
    ) -> None:
        self._levels = levels
        self._plain_hops = plain_hops
        self._first_route = first_route
        self._begun = begun
        self._tracked = TaskCounts()

    def enter(self, route: int, is_resumed: bool = False) -> Journey:
        """Begin to track an item that comes to a route."""
        if is_resumed or route == self._first_route:
            self._tracked.submitted += 1
        else:
            self._tracked.settled[TaskStatus.DONE] -= 1  # by the route before; it goes on
        return Journey(self._tracked)

    def counts(self) -> TaskCounts:
        """Return the counts of now."""
        total = TaskCounts()
        total += self._tracked
        for route, hop in self._plain_hops.items():
            of_hop = self._levels[hop.level].executor.metrics.hops[hop.number]
            total += of_hop
            if route != self._first_route:
                again = of_hop.submitted - self._begun[route]
                total.submitted -= again
                total.settled[TaskStatus.DONE] -= again
        return total


class Journey:
    """An item, and the copies that it leaves, on a route."""

    __slots__ = ("_counts", "_left", "_worst")

    def __init__(self, counts: TaskCounts) -> None:
        self._counts = counts
        self._left = 1
        self._worst = int(TaskStatus.DONE)

    def copied(self) -> None:
        """Wait for the outcome of a copy as well."""
        self._left += 1

    def came(self, outcome: Outcome | DeadLettered) -> None:
        """Note the outcome of a hop."""
        if isinstance(outcome, DeadLettered):
            self._worst = int(TaskStatus.DEAD_LETTERED)
        else:
            self._worst = max(self._worst, outcome.status)

    def ended(self, error: BaseException | None = None) -> None:
        """Note that the item, or a copy, has come to its end."""
        is_done = self._worst == TaskStatus.DONE
        if isinstance(error, UnreadableError) or (error is not None and is_done):
            self._worst = TaskStatus.FAILED
        self._left -= 1
        if not self._left:
            self._counts.settled[self._worst] += 1
