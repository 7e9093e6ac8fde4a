"""While the spider closes, logs how many items are left, and gives them up if none settles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.errors import CloseTimeout
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.wire.messages import kind_of

logger = logging.getLogger(__name__)

_REPORT_EVERY = 10.0  # seconds
_REPORT_AFTER = 1.0  # seconds; most crawls have closed by then


class CloseDeadline:
    """A deadline that counts seconds in which no item settles, once the engine begins to close.
    Seconds in which this process was frozen do not count.

    Args:
        levels: whose items are waited for.
        timeout: seconds without any item settled, after which the rest is given up.
    """

    def __init__(self, loop: EventLoop, levels: Sequence[Level], timeout: float) -> None:
        self._loop = loop
        self._levels = levels
        self._timeout = timeout
        self._awake = Awake()
        self._since: float | None = None
        self._report_at = 0.0

    def begin(self) -> None:
        """Begin to count, when the engine begins to close. A second call does nothing."""
        if self._since is None:
            self._since = monotonic()
            self._awake.hold(self)
            self._report_at = self._since + _REPORT_AFTER
            for level in self._started():
                level.executor.stop_batching()
            self._watch(self._since)

    def end(self) -> None:
        """Stop noticing when this process is frozen: nothing is left that could be late."""
        self._awake.end()

    def _watch(self, since: float) -> None:
        pending, now = sum(level.pending for level in self._levels), monotonic()
        settled = max((level.executor.settled_at for level in self._started()), default=since)
        busy = max(since, settled, *(one.backpressure.busy_since for one in self._levels))
        idle = self._awake.seconds_since(busy)
        if pending and idle >= self._timeout:
            self._give_up_the_rest(idle)
            return
        if pending and now >= self._report_at:
            self._report_at = now + _REPORT_EVERY
            self._report(pending)
        # Also while nothing is pending: an item may be on its way to us in an earlier pipeline.
        self._loop.call_later(self._pause(idle if pending else 0.0), lambda: self._watch(since))

    def _pause(self, idle: float) -> float:
        until_report = self._report_at - monotonic()
        pause = self._timeout - idle
        return max(0.01, min(pause, until_report) if until_report > 0 else min(pause, 1.0))

    def _report(self, pending: int) -> None:
        held = [task for level in self._started() for task in level.executor.overdue()]
        longest = max((seconds for _, _, seconds in held), default=0.0)
        logger.info(
            "Closing: %d items or callbacks left, %d of them at workers, the longest for %.0f s",
            pending,
            len(held),
            longest,
        )

    def _give_up_the_rest(self, idle: float) -> None:
        for level in self._started():
            for task, worker, seconds in level.executor.overdue():
                logger.warning(
                    "The %s %s has been at %s for %.0f s and is given up",
                    kind_of(task.hop),
                    level.label(task),
                    worker,
                    seconds,
                )
            level.executor.give_up(partial(CloseTimeout, idle))
            level.executor.kill()

    def _started(self) -> list[Level]:
        return [level for level in self._levels if level.has_started]
