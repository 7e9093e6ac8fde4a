"""Crawls that are measured as a whole, each in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from benchmarks.groups import CORES
from benchmarks.measure import DEADLINE

#: What many people do instead of one crawl: one for each core, each with its share of the pages.
PLAIN = f"{CORES} plain crawls"
MIB = 1 << 20
WORDS = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world"),
    *("school", "state", "family", "student", "group", "country", "problem", "hand", "part"),
)


@dataclass
class Trip:
    """One crawl. Seconds since Scrapy was imported, and bytes.

    ``first``: to the first item out; ``cpu``: of this process; ``memory``: the proportional set
    size of this process and all below it, when half of the items were out.
    """

    wall: float
    first: float
    cpu: float
    memory: int
    lags: list[float] = field(default_factory=list)


def run_alone(module: str, arguments: Sequence[str]) -> Trip:
    """Have *module* make one crawl in a process of its own.

    Raises:
        RuntimeError: it failed; the message holds what it wrote.
    """
    command = [sys.executable, "-m", module, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stderr[-2000:]}")
    return Trip(**json.loads(done.stdout.splitlines()[-1]))


def run_in_parts(run_part: Callable[[str], Trip]) -> Trip:
    """Crawl in a process for each core at once, each its part "n/of" of the pages."""
    with ThreadPoolExecutor(CORES) as threads:
        parts = [f"{number}/{CORES}" for number in range(CORES)]
        trips = list(threads.map(run_part, parts))
    return Trip(
        wall=max(trip.wall for trip in trips),
        first=min(trip.first for trip in trips),
        cpu=sum(trip.cpu for trip in trips),
        memory=sum(trip.memory for trip in trips),
        lags=[lag for trip in trips for lag in trip.lags],
    )


def proportional_set_size() -> int:
    """Return the bytes of this process and all below it, shared pages by their share."""
    this = psutil.Process()
    family = [this, *this.children(recursive=True)]
    return sum(int(process.memory_full_info().pss) for process in family)


def median(trips: Sequence[Trip], what: str) -> float:
    """Return the median of a figure."""
    return statistics.median(getattr(trip, what) for trip in trips)


def ratio(some: Sequence[Trip], others: Sequence[Trip]) -> float:
    """Return the median of a wall time over another in the same round."""
    return statistics.median(one.wall / two.wall for one, two in zip(some, others, strict=True))
