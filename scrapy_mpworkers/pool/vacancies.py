"""Places whose start has failed, until one succeeds. All here runs in the event loop's thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.restarts import FailedStarts
from scrapy_mpworkers.pool.shortages import in_words, is_shortage
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)


class Vacancies:
    """Has starts tried again, after pauses.

    Args:
        period: seconds that are tried where the last worker has been lost.
        loop: the pool's.
        start: starts a worker in a place, which is to relieve another one perhaps.
    """

    def __init__(
        self, period: float, loop: Loop, start: Callable[[int, ProcessHandle | None], None]
    ) -> None:
        self._failed = FailedStarts(period)
        self._loop = loop
        self._start = start
        self._waiting: dict[int, ProcessHandle | None] = {}

    def started(self) -> None:
        """A start has succeeded."""
        if self._failed.succeeded():
            logger.info("Workers can be started again.")

    def are_to_relieve(self, handle: ProcessHandle) -> bool:
        """Whether the next worker of a vacant place is to relieve *lane*."""
        return any(relieved is handle for relieved in self._waiting.values())

    def try_later(self, handle: ProcessHandle, error: BaseException, has_worker: bool) -> bool:
        """The start of *lane* has failed with *error*. Whether another one may help.

        Args:
            has_worker: whether another worker lives.
        """
        pause = self._failed.pause(monotonic(), has_worker, not is_shortage(error))
        if pause is None:
            return False
        if self._failed.is_first:
            why = in_words(error)
            logger.error("Worker %s could not be started, and is tried again: %s", handle.name, why)
        self._waiting[handle.place] = handle.relieves
        self._loop.call_later(pause, lambda: self._try(handle.place))
        return True

    def _try(self, place: int) -> None:
        self._start(place, self._waiting.pop(place))
