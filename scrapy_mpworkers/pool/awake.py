"""Counts how long this process could run: time in which it was frozen does not count.

(While a computer sleeps, ``time.monotonic()`` stands still on Linux and macOS.)
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from time import monotonic, process_time

#: Seconds from tick to tick.
TICK = 0.25
#: Seconds that count as a gap, at least. A busy machine may let a thread wait for less.
SHORTEST_GAP = 0.5
_KEPT = 100  # gaps


class Awake:
    """Counts seconds without the gaps in which this process did not run. A thread ticks while
    anybody holds on to it, and never otherwise: an idle pool uses no CPU."""

    def __init__(self) -> None:
        self._holders: set[object] = set()
        self._gaps: tuple[tuple[float, float], ...] = ()  # begin and end, time.monotonic()
        self._ticker: _Ticker | None = None
        self._has_ended = False

    def hold(self, holder: object) -> None:
        """Notice gaps from now on, until *holder* lets go."""
        if not self._has_ended:
            self._holders.add(holder)
            if self._ticker is None:
                # If the system gives no thread, no gap is noticed.
                with suppress(RuntimeError):
                    self._ticker = _Ticker(self)

    def let_go(self, holder: object) -> None:
        self._holders.discard(holder)
        if not self._holders and self._ticker is not None:
            self._ticker.ended.set()
            self._ticker = None

    def end(self) -> None:
        """Stop counting for everybody, and for good."""
        self._has_ended = True
        for holder in list(self._holders):
            self.let_go(holder)

    def seconds_since(self, moment: float) -> float:
        """Return how many seconds this process could run since *moment*, ``time.monotonic()``."""
        now = monotonic()
        if self._ticker is not None and self._ticker.is_alive():
            now = min(now, self._ticker.ticked_at + 2 * TICK)
        asleep = sum(max(0.0, end - max(begin, moment)) for begin, end in self._gaps)
        return max(0.0, now - moment - asleep)

    def note(self, begin: float, end: float) -> None:
        """Leave out the time from *begin* to *end*, ``time.monotonic()``."""
        self._gaps = (*self._gaps[-_KEPT:], (begin, end))


class _Ticker(threading.Thread):
    """Ticks in a thread, and notes when it could not.

    A tick is also late if the machine is busy, or if other code keeps the interpreter to itself:
    then this process uses the CPU, or this thread wakes up often to ask for the interpreter.
    """

    def __init__(self, awake: Awake) -> None:
        super().__init__(name="mpworkers-awake", daemon=True)
        self._awake = awake
        self.ticked_at = monotonic()
        self.ended = threading.Event()
        self.start()

    def run(self) -> None:
        cpu, waits = process_time(), _waits()
        while not self.ended.wait(TICK):
            now, cpu_now, waits_now = monotonic(), process_time(), _waits()
            asked = (waits_now - waits) * sys.getswitchinterval()
            ran = max(TICK, cpu_now - cpu, asked)
            if now - self.ticked_at - ran >= SHORTEST_GAP:
                self._awake.note(self.ticked_at + ran, now)
            self.ticked_at, cpu, waits = now, cpu_now, waits_now


def _waits() -> int:
    """Return how often this thread has gone to sleep, 0 if the system hides that. It does so each
    ``sys.getswitchinterval()`` while it waits for the interpreter (CPython 3.10 to 3.14)."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):
        return 0
