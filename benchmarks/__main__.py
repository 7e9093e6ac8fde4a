"""Everything, or some sections of it: a table in Markdown, and plots where matplotlib is there.

    pip install -e '.[bench]'
    python -m benchmarks [overhead] [payload] [scale] [--runs 5] [--out FOLDER]

Run it on a machine that does nothing else. Times are not stable: compare within one run, by ratios.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.groups import CORES, GROUPS, Group
from benchmarks.measure import Row, measure
from benchmarks.peers import OURS
from benchmarks.plot import plot

PACKAGES = ("scrapy", "twisted", "loky", "pebble", "mpire", "distributed")
SECTIONS = tuple(dict.fromkeys(group.section for group in GROUPS))


def table(group: Group, rows: Sequence[Row]) -> str:
    """A group's rows in Markdown."""
    ours = next(row.items_per_second for row in rows if row.peer == OURS)
    has_lag = rows[0].lag_p99 is not None
    has_busy = list(group.peers) == [OURS]
    heads = ["", "items/s", "of ours", "parent CPU, µs/item", "workers' CPU, µs/item"]
    heads += ["of the ideal"] * (group.ideal is not None)
    heads += ["workers busy"] * has_busy + ["lag p99, ms", "max"] * has_lag
    lines = [f"### {group.title}", "", _line(heads), _line(["---"] * len(heads))]
    for row in rows:
        cells = [row.peer, f"{row.items_per_second:,.0f}", f"{row.items_per_second / ours:.2f}"]
        cells += [f"{row.cpu * 1e6:,.0f}", f"{row.worker_cpu * 1e6:,.0f}"]
        if group.ideal is not None:
            cells.append(f"{row.items_per_second / group.ideal:.2f}")
        if has_busy:
            cells.append(f"{row.busy:.1%}")
        if row.lag_p99 is not None and row.lag_max is not None:
            cells += [f"{row.lag_p99 * 1e3:.1f}", f"{row.lag_max * 1e3:.1f}"]
        lines.append(_line(cells))
    return "\n".join([*lines, ""])


def heading(runs: int) -> str:
    """What was run, and on what."""
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"Measured on {date.today()}: medians of {runs} interleaved runs; CPython "
        f"{platform.python_version()}, {CORES} cores; {packages}.\n"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", help=" ".join(SECTIONS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for section in options.sections or SECTIONS:
        _run(section, options.runs, options.out)


def _run(section: str, runs: int, out: Path) -> None:
    found: dict[str, list[Row]] = {}
    with (out / f"{section}.md").open("w", encoding="utf-8") as file:
        for text in (f"## {section}\n", heading(runs)):
            print(text, file=file)
        for group in (group for group in GROUPS if group.section == section):
            found[group.title] = list(measure(group, runs))
            text = table(group, found[group.title])
            print(text, file=file, flush=True)
            print(text, file=sys.stdout, flush=True)
    plot(section, found, out / f"{section}.svg")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
