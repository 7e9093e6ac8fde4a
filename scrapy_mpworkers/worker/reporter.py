"""Sends reports. Outcomes travel together, but none waits for the item that comes after it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import NoReturn

from scrapy_mpworkers.wire.framing import encode_report
from scrapy_mpworkers.wire.messages import Outcome, Outcomes, Report
from scrapy_mpworkers.worker.ends import CutOff, OwnEnd, cut_off

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
        cut_off: called when outcomes cannot be sent: none of them may be lost in silence.
    """

    def __init__(
        self, reports: Connection, batch_seconds: float, cut_off: CutOff = cut_off
    ) -> None:
        self._flush_after = PATIENCE * batch_seconds
        self._reports = reports
        self._end = OwnEnd(reports.fileno())
        self._cut_off = cut_off
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
            self._send(report)

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
                self._send(Outcomes.of(self._crawl, ready))

    def _send(self, report: Report) -> None:
        try:
            message = encode_report(report)
            self._end.check()
            self._reports.send_bytes(message)
        except BaseException as error:
            self._cut_off(error)

    def _flush_late(self) -> None:
        while True:
            self._has_finished.wait()
            # Not asleep again before it has found nothing: to be woken for each batch, and to send
            # the next one in two messages, would cost more than the rest of a small item.
            while self._finished:
                time.sleep(max(0.0, self._since + self._flush_after - time.monotonic()))
                if self._finished and time.monotonic() - self._since >= self._flush_after:
                    self.flush()
            self._has_finished.clear()
            if self._finished:
                self._has_finished.set()


class NoReporter:
    """Stands for the reporter in a process that a pipeline has forked: where the pipeline returns,
    that process ends."""

    def begin(self, crawl: int) -> None:
        """Nothing begins here."""
        self._exit()

    def send(self, report: Report) -> None:
        """Nobody is told."""
        self._exit()

    def add(self, outcome: Outcome) -> None:
        """The outcome counts in the worker itself."""
        self._exit()

    def flush(self, *last: Outcome) -> None:
        """The outcomes count in the worker itself."""
        self._exit()

    def _exit(self) -> NoReturn:
        # Not as usual: buffers and handlers are copies of the worker's, which uses its own.
        os._exit(0)
