"""When to stop replacing workers. Pure: the time is passed in.

Erlang's restart intensity (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity),
with one difference: only fruitless deaths count, and any progress forgives them.
"""

from __future__ import annotations

from collections import deque


class RestartIntensity:
    """Allows *intensity* fruitless deaths in *period* seconds."""

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity, self.period = intensity, period
        self._deaths: deque[float] = deque()

    def progress(self) -> None:
        """The pool has settled a task."""
        self._deaths.clear()

    def allows(self, now: float) -> bool:
        """A worker died at *now* before it settled anything. Whether to start another."""
        self._deaths.append(now)
        while self._deaths[0] < now - self.period:
            self._deaths.popleft()
        return len(self._deaths) <= self.intensity
