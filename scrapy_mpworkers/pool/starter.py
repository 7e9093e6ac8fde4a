"""The thread that starts lanes and discards them: both can block, so neither may run in the loop.

It lives as long as the pool. On Linux a worker's death signal fires when the *thread* that started
it ends, so one thread starts them all. (Under ``fork`` that is the loop's thread.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger(__name__)


class Starter:
    """Runs jobs one after the other."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="mpworkers-starter", daemon=True).start()

    def do(self, job: Callable[[], None]) -> None:
        """Run *job* after those before it. It handles its own errors."""
        self._jobs.put(job)

    def end(self) -> None:
        """End the thread after the jobs so far."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                logger.exception("Starting or discarding a worker failed")
