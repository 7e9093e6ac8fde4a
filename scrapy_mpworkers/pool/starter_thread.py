"""The thread that starts workers and discards them, since both can block.

On Linux a worker's death signal fires when the *thread* that started it ends, so one thread, which
lives as long as the pool, starts them all. (Under ``fork`` that is the loop's thread.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.mailbox import Mailbox

logger = logging.getLogger(__name__)


class Starter:
    """Runs jobs one after the other.

    Args:
        died: called in the loop's thread with the error that ended the starter's thread too early.
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
        self._jobs.put(None)

    def do_the_rest(self) -> None:
        """Run the jobs that the dead thread has left, and all later ones, in the calling thread."""
        self._has_thread = False
        while self._jobs:
            job = self._jobs.get()
            if job is not None:
                _run_job(job)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                _run_job(job)
        # Tell of any error, or the pool would wait for the starter's next job for ever.
        except BaseException as error:
            self.answer(partial(self._died, error))


def _run_job(job: Callable[[], None]) -> None:
    try:
        job()
    except Exception:
        logger.exception("Starting or discarding a worker failed")
