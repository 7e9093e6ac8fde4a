"""Sends reports. Outcomes travel together, but none waits for the item that comes after it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from scrapy_mpworkers.wire.messages import Outcome, Outcomes, Report, encode

#: Seconds that an outcome waits for the rest of its batch. A message costs both sides about 50 µs.
FLUSH_AFTER = 0.005


class Reporter:
    """The worker's end of the report pipe.

    A batch is sent as a whole when it is done. Should one of its items take long, a thread sends
    what is ready: it would reach the crawl late, or be done again if the worker dies of that item.
    """

    def __init__(self, reports: Connection) -> None:
        self._reports = reports
        self._finished: deque[Outcome] = deque()  # filled by one thread, emptied by two
        self._sending = threading.Lock()
        self._has_finished = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, report: Report) -> None:
        """Send a report, behind all outcomes that are ready."""
        self.flush()
        with self._sending:
            self._reports.send_bytes(encode(report))

    def add(self, outcome: Outcome) -> None:
        """An outcome that may wait for the rest of its batch."""
        self._finished.append(outcome)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._flush_late, name="mpworkers-reporter", daemon=True
            )
            self._thread.start()
        if not self._has_finished.is_set():
            self._has_finished.set()

    def flush(self, *last: Outcome) -> None:
        """Send the outcomes that are ready, and *last* with them."""
        with self._sending:
            if self._has_finished.is_set():
                self._has_finished.clear()
            self._finished.extend(last)
            ready = [self._finished.popleft() for _ in range(len(self._finished))]
            if ready:
                self._reports.send_bytes(encode(Outcomes.of(ready)))

    def _flush_late(self) -> None:
        while True:
            self._has_finished.wait()
            time.sleep(FLUSH_AFTER)
            with contextlib.suppress(OSError):  # Scrapy's process is gone, and we shall be soon
                self.flush()
