"""Watches the first items of a worker for what the pipelines' source does not tell."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from time import perf_counter, process_time
from typing import Any

from scrapy_mpworkers.lint import (
    Finding,
    Kind,
    Report,
    inspect,
    lines_for,
    name_of,
    remembers,
    waiting_advice,
    without_source,
)
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.texts import named
from scrapy_mpworkers.worker.pipelines import HopPipelines
from scrapy_mpworkers.worker.sizes import size_of

logger = logging.getLogger(__name__)

#: How many items are watched for what they add to attributes, and how many of them must add to one.
SHAPED = 20
GROWING = 15
#: Items that are timed; a hop is said to wait below this share of CPU, above this mean time.
TIMED = 50
CPU_SHARE = 0.2
WORTH_SAYING_SECONDS = 0.001


def warn_and_watch(
    hops: Sequence[HopPipelines], placement: Placement, missing: Mapping[str, str]
) -> None:
    """Warn of what a level's pipelines do wrong by their source, and watch for the rest.

    Args:
        missing: why a part has not come to this worker, by the name that the inspection gives it.
    """
    classes: list[type] = [type(one) for hop in hops for one in hop.middlewares]
    reports = {cls: inspect(cls) for cls in classes}
    for cls, report in reports.items():
        for what in filter(missing.__contains__, report.capabilities):
            line = "%s uses %s, which is not available in a worker: it could not be sent there (%s)"
            logger.warning(line, name_of(cls), what, missing[what])
    for line in lines_for(list(reports.values()), placement):
        logger.warning("%s", line)
    for report in reports.values():
        if report.unread and not report.error:
            logger.info("%s", without_source(report))
    for hop in hops:
        UsageMonitor(hop, reports, placement).begin()


class UsageMonitor:
    """Takes the place of a hop's methods to watch its items. When it has seen enough it goes, so
    that later items do not pay for it."""

    def __init__(
        self, hop: HopPipelines, reports: dict[type, Report], placement: Placement
    ) -> None:
        self._hop = hop
        own = [reports[type(one)] for one in hop.middlewares]
        tells = any(report.of(Kind.WAITS, Kind.STORES) for report in own)
        is_timed = not tells and placement.waits and placement.workers and not placement.batches
        self._looks: list[Waits | Growth] = [Waits(hop.middlewares)] if is_timed else []
        if placement.divides:
            self._looks.append(Growth(hop.middlewares, reports, placement))

    def begin(self) -> None:
        """Take the place of the hop's methods, if there is anything to watch."""
        if self._looks:
            self._hop.watch(self._watched)

    async def _watched(self, method: Any, *arguments: Any) -> Any:
        before = _clocks()
        try:
            return await method(*arguments)
        finally:
            self._look(before)

    def _look(self, before: tuple[float, float]) -> None:
        try:
            self._looks = [one for one in self._looks if not one.has_seen_enough(before)]
        # Classes of the user run their own code here. No item fails because it was looked at.
        except BaseException as error:
            logger.debug("The first items are not watched any more: %s", named(error))
            self._looks = []
        if not self._looks:
            self._hop.unwatch()


class Waits:
    """Adds up wall and CPU time of the first items: a hop that takes long and uses little CPU
    waits."""

    def __init__(self, pipelines: Sequence[Any]) -> None:
        self._names = ", ".join(name_of(type(one)) for one in pipelines)
        self._count = 0
        self._wall = self._cpu = 0.0

    def has_seen_enough(self, before: tuple[float, float]) -> bool:
        """Add an item that began at *before*, and return whether it was the last."""
        after = _clocks()
        self._wall += after[0] - before[0]
        self._cpu += after[1] - before[1]
        self._count += 1
        is_over = self._count == TIMED
        is_long = self._wall > WORTH_SAYING_SECONDS * self._count
        if is_over and is_long and self._cpu < CPU_SHARE * self._wall:
            self._warn()
        return is_over

    def _warn(self) -> None:
        # Each worker has figures of its own; the first to say it says it for all.
        logger.warning(
            "%s: the first %d items took %.0f ms each, and of that %.0f %% on the CPU. %s",
            self._names,
            self._count,
            self._wall / self._count * 1000,
            self._cpu / self._wall * 100,
            waiting_advice(Finding(Kind.WAITS, ()), stores_only=False),
            extra={"said_once": f"waits {self._names}"},
        )


class Growth:
    """Compares the sizes of what pipelines keep from item to item: what grows with them may be a
    memory of them."""

    def __init__(
        self, pipelines: Sequence[Any], reports: dict[type, Report], placement: Placement
    ) -> None:
        self._pipelines = [(one, reports[type(one)].known) for one in pipelines]
        self._placement = placement
        self._sizes: dict[tuple[str, str], int] = {}
        self._grew: Counter[tuple[str, str]] = Counter()
        self._count = 0

    def has_seen_enough(self, before: tuple[float, float]) -> bool:
        """Look once more, and return whether that was the last time."""
        last, self._sizes = self._sizes, self._now()
        if self._count > 0:
            self._grew.update(one for one, n in self._sizes.items() if n > last.get(one, 0))
        self._count += 1
        is_over = self._count == SHAPED
        if is_over:
            self._warn()
        return is_over

    def _warn(self) -> None:
        for (name, attribute), count in self._grew.items():
            if count >= GROWING:
                now = f"(it has {self._sizes.get((name, attribute), 0)} now)"
                what = f"has added to self.{attribute} with the first {SHAPED} items {now}"
                line = remembers(name, what, self._placement)
                logger.warning("%s", line, extra={"said_once": f"grows {name} {attribute}"})

    def _now(self) -> dict[tuple[str, str], int]:
        return {
            (name_of(type(pipeline)), name): size
            for pipeline, known in self._pipelines
            for name, value in _attributes(pipeline).items()
            if (size := size_of(value)) is not None and f"self.{name}" not in known
        }


def _attributes(pipeline: Any) -> dict[str, Any]:
    """Return its own attributes and those of its classes."""
    found: dict[str, Any] = {}
    for base in reversed(type(pipeline).__mro__[:-1]):
        found |= vars(base)
    return found | getattr(pipeline, "__dict__", {})


def _clocks() -> tuple[float, float]:
    """Read wall time and CPU time.

    Wall time leaves out how long this thread waited for a CPU, which on a busy machine is no sign
    of waiting for others.
    """
    times = os.times()  # of children: the programs that pipelines have run to their end
    cpu = process_time() + times.children_user + times.children_system
    return perf_counter() - _queued(), cpu


def _queued() -> float:
    """Return the seconds that this thread waited for a CPU, where the kernel tells."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
