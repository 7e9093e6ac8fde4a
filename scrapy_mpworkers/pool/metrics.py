"""The pool counts and measures here. Pure: times are passed in."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, log
from operator import add

from scrapy_mpworkers.wire.messages import CALL, CALLBACK, TaskStatus

_STEP = log(1.04)
_LEAST = 1e-7  # seconds; what is shorter counts as that
_TOGETHER = 1024
_SPAN = 60  # seconds that a rate is kept for


class Distribution:
    """Durations in logarithmic buckets 4 % apart: percentiles within 2 %, in bounded memory."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._total = 0.0
        self._new: list[float] = []  # not yet in a bucket; many together are cheaper

    def extend(self, durations: Iterable[float]) -> None:
        self._new.extend(durations)
        if len(self._new) >= _TOGETHER:
            self._sort_in()

    @property
    def count(self) -> int:
        return self._buckets.total() + len(self._new)

    @property
    def total(self) -> float:
        """Seconds of all together."""
        return self._total + sum(self._new)

    def __iadd__(self, other: Distribution) -> Distribution:
        other._sort_in()
        self._buckets.update(other._buckets)
        self._total += other._total
        return self

    def _sort_in(self) -> None:
        # Sorted, those of a bucket are found at once: half the time of a logarithm for each.
        new, first = sorted(self._new), 0
        while first < len(new):
            bucket = round(log(max(new[first], _LEAST)) / _STEP)
            behind = bisect_left(new, exp((bucket + 0.5) * _STEP), first + 1)
            self._buckets[bucket] += behind - first
            first = behind
        self._total += sum(new)
        self._new.clear()

    def percentiles(self, *percents: float) -> list[float]:
        """Seconds that so many percent of the durations do not exceed; 0.0 if there are none.

        Args:
            percents: in ascending order.
        """
        self._sort_in()
        found, seen, count = [0.0] * len(percents), 0, self._buckets.total()
        left = deque(enumerate(percents))
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            while left and seen >= count * left[0][1] / 100:
                found[left.popleft()[0]] = exp(bucket * _STEP)
        return found


@dataclass
class WorkerTime:
    """Seconds that the workers of one slot have lived and been busy."""

    manned: float = 0.0
    busy: float = 0.0
    ready_at: float | None = None

    def lived(self, now: float) -> float:
        """Seconds with a ready worker, the present one included."""
        return self.manned + (0.0 if self.ready_at is None else now - self.ready_at)

    def ready(self, now: float) -> None:
        """A worker is ready, unless one was already."""
        if self.ready_at is None:
            self.ready_at = now

    def not_ready(self, now: float) -> None:
        """No worker of the slot is ready any more."""
        self.manned, self.ready_at = self.lived(now), None


@dataclass
class TaskCounts:
    """Counts the tasks of one kind, by what became of them."""

    submitted: int = 0
    #: How many tasks ended in each :class:`TaskStatus`.
    settled: list[int] = field(default_factory=lambda: [0] * len(TaskStatus))
    cancelled: int = 0

    def __iadd__(self, other: TaskCounts) -> TaskCounts:
        self.submitted += other.submitted
        self.settled = list(map(add, self.settled, other.settled))
        self.cancelled += other.cancelled
        return self


class HopCounts(defaultdict[int, TaskCounts]):
    """Counts the items of each hop, and calls, by the numbers of their hops."""

    def __init__(self) -> None:
        super().__init__(TaskCounts)

    def __iadd__(self, other: HopCounts) -> HopCounts:
        for hop, counts in other.items():
            self[hop] += counts
        return self


class Rate:
    """Counts what is settled in each second of the last minute."""

    def __init__(self) -> None:
        self._since = self._second = -1  # until the first comes
        self._counts = [0] * (_SPAN + 1)

    def add(self, now: float, count: int) -> None:
        if int(now) != self._second:
            self._go_on(int(now))
            if self._since < 0:
                self._since = int(now)
        self._counts[self._second % len(self._counts)] += count

    def per_second(self, now: float) -> float:
        """Return the count of the last whole second."""
        self._go_on(int(now))
        return self._counts[(self._second - 1) % len(self._counts)]

    def per_minute(self, now: float) -> float:
        """Return the count of the last minute; of a shorter time, what a minute would have."""
        self._go_on(int(now))
        seconds = min(_SPAN, max(1.0, now - self._since))
        return sum(self._counts) * _SPAN / seconds

    def __iadd__(self, other: Rate) -> Rate:
        self._go_on(other._second)
        other._go_on(self._second)
        self._counts = list(map(add, self._counts, other._counts))
        self._since = min(self._since, other._since)
        return self

    def _go_on(self, second: int) -> None:
        slots = len(self._counts)
        for passed in range(max(self._second, second - slots) + 1, second + 1):
            self._counts[passed % slots] = 0
        self._second = max(second, self._second)


@dataclass
class Metrics:
    """Everything that stats, log lines and the closing table are made of."""

    hops: HopCounts = field(default_factory=HopCounts)
    redelivered: int = 0
    started: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    recycled: Counter[str] = field(default_factory=Counter)
    reports: int = 0  #: with outcomes
    bytes_shipped: int = 0
    bytes_returned: int = 0
    wait: Distribution = field(default_factory=Distribution)
    service: Distribution = field(default_factory=Distribution)
    workers: list[WorkerTime] = field(default_factory=list)
    rate: Rate = field(default_factory=Rate)

    @classmethod
    def of_all(cls, several: Sequence[Metrics]) -> Metrics:
        """The figures of several pools together."""
        if len(several) == 1:
            return several[0]
        total = cls()
        for one in several:
            for name, figure in vars(one).items():
                summed = getattr(total, name)
                summed += figure
                setattr(total, name, summed)
        return total

    @property
    def items(self) -> TaskCounts:
        """Count the items of all hops; an item counts at each hop that it comes to."""
        total = TaskCounts()
        for hop, counts in self.hops.items():
            if hop >= 0:
                total += counts
        return total

    @property
    def item_hops(self) -> list[int]:
        """Return the hops that an item has come to."""
        return sorted(self.hops.keys() - {CALL, CALLBACK})

    @property
    def calls(self) -> TaskCounts:
        """Count the calls of functions."""
        return self.hops.get(CALL) or TaskCounts()

    @property
    def callbacks(self) -> TaskCounts:
        """Count the callbacks of the spider."""
        return self.hops.get(CALLBACK) or TaskCounts()

    @property
    def tasks_settled(self) -> int:
        """Return how many items, calls and callbacks are settled, however."""
        return sum(sum(counts.settled) for counts in self.hops.values())

    def record(
        self, now: float, slot: int, size: int, times: list[float], waits: list[float]
    ) -> None:
        """Count a report of *size* bytes: the seconds of each of its tasks, at a worker of
        *slot*, and the seconds that those which it settles have waited."""
        self.rate.add(now, len(waits))
        self.reports += 1
        self.bytes_returned += size
        self.workers[slot].busy += sum(times)
        self.service.extend(times)
        self.wait.extend(waits)

    def refused(self, hop: int) -> None:
        """An item could not be pickled: it was submitted, and has failed, without a task."""
        self.hops[hop].submitted += 1
        self.hops[hop].settled[TaskStatus.FAILED] += 1

    def unreadable(self, hop: int, status: int) -> None:
        """The result of a task that was settled cannot be loaded: it has failed after all."""
        self.hops[hop].settled[status] -= 1
        self.hops[hop].settled[TaskStatus.FAILED] += 1

    def utilisation(self, now: float, running: float = 0.0) -> float:
        """Busy share of all workers, 0 to 1; *running*: seconds of what they are at now."""
        lived = sum(worker.lived(now) for worker in self.workers)
        return (sum(worker.busy for worker in self.workers) + running) / lived if lived else 0.0
