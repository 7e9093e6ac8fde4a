"""How long a test may wait on a machine that has other things to do."""

from __future__ import annotations

import os


def patient(seconds: float) -> float:
    """Return these seconds, and as many times as many as processes wait for each core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return seconds * max(1.0, os.getloadavg()[0] / (cores or 1))
