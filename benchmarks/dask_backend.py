"""The Dask backend against worker processes of this machine, and what one scheduler carries.

The first table has as many processes on either side, which use a core for the time of an item.
For the second, processes sleep for that time, so there may be more of them than cores. Runs are
interleaved; medians count. Run it on a machine that does nothing else:

    python -m benchmarks.dask_backend [--runs 5] [--seconds 10]
"""

from __future__ import annotations

import argparse
import platform
import statistics
from typing import Any, NamedTuple

from benchmarks.drive import Figures, Spec
from benchmarks.groups import CORES
from benchmarks.measure import run
from benchmarks.peers import OURS

BACKENDS = ("local", "dask")
#: Items at once, for each worker: as many as the Dask backend lets in.
WINDOW = 512
#: What a no-op item takes on the way, about.
_NO_OP = 0.0001


class Load(NamedTuple):
    """Items of one kind for a number of workers; ``seconds``: 0.0 for a no-op."""

    work: str
    seconds: float
    workers: int

    @property
    def title(self) -> str:
        """In a table."""
        return f"{self.seconds * 1000:g} ms" if self.seconds else "no-op"


EQUAL = [Load("burn", seconds, CORES) for seconds in (0.0, 0.001, 0.01, 0.1)]
MANY = [
    Load("sleep", seconds, workers)
    for seconds, counts in ((0.001, (2, 4)), (0.01, (8, 16, 32)), (0.1, (32,)))
    for workers in counts
]


def spec_of(load: Load, backend: str, seconds: float) -> Spec:
    """A run of about so many *seconds*."""
    per_second = load.workers / max(load.seconds, _NO_OP)
    count = max(4 * load.workers, int(seconds * per_second))
    settings: dict[str, Any] = {"MPWORKERS_BACKEND": backend, "MPWORKERS_MAX_PENDING": 100_000}
    return Spec(
        OURS,
        load.work if load.seconds else "nothing",
        "timed" if load.seconds else "small",
        count,
        {"seconds": load.seconds} if load.seconds else {},
        workers=load.workers,
        window=WINDOW * load.workers,
        # The first messages carry an item each, until it is known how long one takes.
        warm_up=max(count // 5, 2 * load.workers),
        settings=settings,
    )


def measure(loads: list[Load], backends: tuple[str, ...], runs: int, seconds: float) -> None:
    """Interleaved runs, and a row for each load."""
    for load in loads:
        found: dict[str, list[Figures]] = {backend: [] for backend in backends}
        specs = {backend: spec_of(load, backend, seconds) for backend in backends}
        for number in range(runs):
            for backend in reversed(backends) if number % 2 else backends:
                found[backend].append(run(specs[backend]))
        print(row(load, specs, found), flush=True)


def row(load: Load, specs: dict[str, Spec], found: dict[str, list[Figures]]) -> str:
    """One row: items a second, their ratio, and the CPU of Scrapy's process."""
    rates = {
        backend: [specs[backend].count / figures.seconds for figures in several]
        for backend, several in found.items()
    }
    cells = [load.title, f"{load.workers}"]
    cells += [f"{statistics.median(each):,.0f}" for each in rates.values()]
    if len(rates) > 1:
        pairs = zip(rates["dask"], rates["local"], strict=True)
        cells.append(f"{statistics.median(dask / local for dask, local in pairs):.2f}")
    elif load.seconds:
        ideal = load.workers / load.seconds
        cells.append(f"{statistics.median(rates['dask']) / ideal:.0%}")
    if len(rates) > 1:
        cells += [f"{used_by_all(specs[one].count, found[one]) * 1e3:,.3f}" for one in found]
    cpu = [figures.cpu / specs["dask"].count for figures in found["dask"]]
    cells.append(f"{statistics.median(cpu) * 1e6:,.0f}")
    return "| " + " | ".join(cells) + " |"


def used_by_all(count: int, runs: list[Figures]) -> float:
    """Seconds of CPU for an item: of Scrapy's process and all below it, the scheduler included.

    Where cores are full that decides, and other work on the machine hardly changes it.
    """
    return statistics.median((figures.cpu + figures.worker_cpu) / count for figures in runs)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dask_backend")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(f"{options.runs} interleaved runs; CPython {platform.python_version()}, {CORES} cores\n")
    print(
        "| items | workers | local, items/s | Dask, items/s | ratio "
        "| local: CPU of all, ms an item | Dask: likewise | Scrapy's CPU, µs an item |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    measure(EQUAL, BACKENDS, options.runs, options.seconds)
    print("\n| items | workers | items/s | of the ideal | Scrapy's CPU, µs an item |")
    print("| --- | --- | --- | --- | --- |")
    measure(MANY, ("dask",), options.runs, options.seconds)


if __name__ == "__main__":
    main()
