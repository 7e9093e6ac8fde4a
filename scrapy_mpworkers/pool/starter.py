"""The thread that starts lanes and discards them: both can block, so neither may run in the loop.

It lives as long as the pool. On Linux a worker's death signal fires when the *thread* that started
it ends, so one thread starts them all. (Under ``fork`` that is the loop's thread.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from scrapy_mpworkers.pool.mailbox import Mailbox

logger = logging.getLogger(__name__)


class Starter:
    """Runs jobs one after the other.

    Args:
        died: called with what has ended its thread before :meth:`end` did, or has kept it from
            beginning. In that thread.
    """

    def __init__(self, died: Callable[[BaseException], None]) -> None:
        self._jobs: Mailbox[Callable[[], None] | None] = Mailbox()
        self._died = died
        try:
            threading.Thread(target=self._run, name="mpworkers-starter", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            died(error)

    def do(self, job: Callable[[], None]) -> None:
        """Run *job* after those before it. It handles its own errors."""
        self._jobs.put(job)

    def end(self) -> None:
        """End the thread after the jobs so far."""
        self._jobs.put(None)

    def do_the_rest(self) -> None:
        """Run in the calling thread what a thread that has died has left, and all that follows."""
        self.do = _run_job  # type: ignore[method-assign]
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
            self._died(error)


def _run_job(job: Callable[[], None]) -> None:
    try:
        job()
    except Exception:
        logger.exception("Starting or discarding a worker failed")
