"""The thread that starts workers and discards them, and the starts that are tried again.

Both can block, so neither may run in the loop. The thread lives as long as the pool: on Linux a
worker's death signal fires when the *thread* that started it ends, so one thread starts them all.
(Under ``fork`` that is the loop's thread.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.mailbox import Mailbox
from scrapy_mpworkers.pool.restarts import FailedStarts
from scrapy_mpworkers.pool.shortages import in_words, is_shortage
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)


class Starter:
    """Runs jobs one after the other.

    Args:
        died: called in the loop's thread with what has ended the starter's before :meth:`end` did,
            or has kept it from beginning.
    """

    def __init__(self, loop: Loop, died: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._jobs: Mailbox[Callable[[], None] | None] = Mailbox()
        self._died = died
        self._has_thread = True  # or is about to have one

    def start(self) -> None:
        try:
            threading.Thread(target=self._run, name="mpworkers-starter", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            self.answer(partial(self._died, error))

    def do(self, job: Callable[[], None]) -> None:
        """Run *job* after those before it; it handles its own errors."""
        if self._has_thread:
            self._jobs.put(job)
        else:
            _run_job(job)

    def answer(self, function: Callable[[], None]) -> None:
        """Call *function* in the loop's thread, or not at all if the loop is already closed."""
        with suppress(RuntimeError):
            self._loop.call_from_thread(function)

    def end(self) -> None:
        """End the thread after the jobs so far."""
        self._jobs.put(None)

    def do_the_rest(self) -> None:
        """Run in the calling thread what a thread that has died has left, and all that follows."""
        self._has_thread = False
        while self._jobs:
            job = self._jobs.get()
            if job is not None:
                _run_job(job)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                _run_job(job)
        # Whatever it is: nobody else would know, and all would wait for its next job for ever.
        except BaseException as error:
            self.answer(partial(self._died, error))


def _run_job(job: Callable[[], None]) -> None:
    try:
        job()
    except Exception:
        logger.exception("Starting or discarding a worker failed")


class Vacancies:
    """Remembers the places whose start has failed, until a worker is started there.

    Args:
        period: seconds that are tried where the last worker has been lost.
    """

    def __init__(self, period: float) -> None:
        self._failed = FailedStarts(period)
        self._waiting: dict[int, ProcessHandle | None] = {}

    def started(self) -> None:
        if self._failed.succeeded():
            logger.info("Workers can be started again.")

    def are_to_replace(self, handle: ProcessHandle) -> bool:
        """Return whether the next worker of a vacant place is to replace this one."""
        return any(replaced is handle for replaced in self._waiting.values())

    def pause(self, handle: ProcessHandle, error: BaseException, has_worker: bool) -> float | None:
        """Note that a start has failed with *error*.

        Args:
            has_worker: whether another worker lives.

        Returns:
            seconds after which another one may help; ``None`` if none will.
        """
        pause = self._failed.pause(monotonic(), has_worker, not is_shortage(error))
        if pause is None:
            return None
        if self._failed.is_first:
            why = in_words(error)
            logger.error("Worker %s could not be started, and is tried again: %s", handle.name, why)
        self._waiting[handle.place] = handle.replaces
        return pause

    def fill(self, place: int) -> ProcessHandle | None:
        """Return the worker that the next one of a vacant place is to replace."""
        return self._waiting.pop(place)
