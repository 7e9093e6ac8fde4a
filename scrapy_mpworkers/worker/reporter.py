"""Sends reports. Outcomes travel together, but none waits for the item that comes after it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from scrapy_mpworkers.wire.messages import Outcome, Outcomes, Report, encode

#: What an outcome waits for the rest of its batch, in times that a batch takes: a little longer, or
#: most batches would be sent in two messages.
PATIENCE = 1.2


class Reporter:
    """The worker's end of the report pipe.

    A batch is sent as a whole when it is done. Should one of its items take long, a thread sends
    what is ready: it would reach the crawl late, or be done again if the worker dies of that item.

    Args:
        reports: the pipe.
        batch_seconds: that a batch takes, about.
    """

    def __init__(self, reports: Connection, batch_seconds: float) -> None:
        self._flush_after = PATIENCE * batch_seconds
        self._reports = reports
        self._crawl = 0  # whose outcomes they are
        self._finished: deque[Outcome] = deque()  # filled by one thread, emptied by two
        self._since = 0.0  # when the oldest of them came
        self._sending = threading.Lock()
        self._has_finished = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, crawl: int) -> None:
        """What comes now is of this crawl; all before it has been flushed."""
        self._crawl = crawl

    def send(self, report: Report) -> None:
        """Send a report, behind all outcomes that are ready."""
        self.flush()
        with self._sending:
            self._reports.send_bytes(encode(report))

    def add(self, outcome: Outcome) -> None:
        """An outcome that may wait for the rest of its batch."""
        if not self._finished:
            self._since = time.monotonic()
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
            self._finished.extend(last)
            ready = [self._finished.popleft() for _ in range(len(self._finished))]
            if ready:
                self._reports.send_bytes(encode(Outcomes.of(self._crawl, ready)))

    def _flush_late(self) -> None:
        while True:
            self._has_finished.wait()
            # Not asleep again before it has found nothing: to be woken for each batch, and to send
            # the next one in two messages, would cost more than the rest of a small item.
            while self._finished:
                time.sleep(max(0.0, self._since + self._flush_after - time.monotonic()))
                if self._finished and time.monotonic() - self._since >= self._flush_after:
                    with contextlib.suppress(OSError):  # Scrapy is gone, and we shall be soon
                        self.flush()
            self._has_finished.clear()
            if self._finished:
                self._has_finished.set()
