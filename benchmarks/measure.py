"""Runs measurements, each in a process of its own, one peer after the other, again and again."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.drive import Figures, Spec
from benchmarks.groups import Group

ROOT = Path(__file__).parents[1]
DEADLINE = 900.0  # seconds for one run


@dataclass(frozen=True)
class Row:
    """Medians of one peer's runs. Seconds; ``cpu`` and ``worker_cpu``: per item.

    ``busy``: the share of their time that the workers spent in items.
    """

    peer: str
    items_per_second: float
    cpu: float
    worker_cpu: float
    busy: float
    lag_p99: float | None
    lag_max: float | None


def run(spec: Spec, folder: Path = ROOT) -> Figures:
    """One run, with the package as it lies in *folder*, and with these benchmarks.

    Raises:
        RuntimeError: it failed; the message holds what it wrote.
    """
    # Elsewhere: python -m looks first where it is started, and would find this package there.
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.drive", json.dumps(asdict(spec))],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT)))},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{spec} failed:\n{done.stderr[-2000:]}")
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def in_turn(names: Sequence[str], runs: int) -> Iterator[str]:
    """All *names* so many times, and each time another one first: none has always the same one
    before it, which may have left the machine hot."""
    for n in range(runs):
        first = n % len(names)
        yield from (*names[first:], *names[:first])


def measure(group: Group, runs: int) -> Iterator[Row]:
    """Interleaved runs of all peers, and the median of each."""
    specs = {peer: group.spec_of(peer) for peer in group.peers}
    found: Mapping[str, list[Figures]] = {peer: [] for peer in specs}
    for peer in in_turn(list(specs), runs):
        found[peer].append(run(specs[peer]))
    for peer, spec in specs.items():
        yield row(peer, spec, found[peer])


def row(peer: str, spec: Spec, runs: Sequence[Figures]) -> Row:
    """The medians of some *runs*."""

    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    return Row(
        peer,
        median(spec.count / figures.seconds for figures in runs),
        median(figures.cpu / spec.count for figures in runs),
        median(figures.worker_cpu / spec.count for figures in runs),
        median(figures.busy / figures.seconds / spec.workers for figures in runs),
        median(percentile(figures.lags, 99) for figures in runs) if spec.lag else None,
        median(max(figures.lags) for figures in runs) if spec.lag else None,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that *percent* of the values do not exceed."""
    return sorted(values)[int((len(values) - 1) * percent / 100)]
