"""Everything, or some sections of it: tables in Markdown, and plots where matplotlib is there.

    pip install -e '.[bench,example]'
    python -m benchmarks [overhead] [payload] [scale] [crawl] [long_run] [--runs 5] [--out FOLDER]

Run it on a machine that does nothing else. Times are not stable: compare within one run, by ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import crawl, long_run
from benchmarks.groups import GROUPS, Group
from benchmarks.measure import Row, measure
from benchmarks.peers import OURS
from benchmarks.plot import Bars, plot
from benchmarks.versions import heading

GROUPED = tuple(dict.fromkeys(group.section for group in GROUPS))
SECTIONS = (*GROUPED, "crawl", "long_run")


class Report:
    """The table of a section: printed and kept as it grows."""

    def __init__(self, section: str, runs: int, out: Path) -> None:
        self._file = out / f"{section}.md"
        self._file.write_text("", "utf-8")
        self.add(f"## {section}\n")
        self.add(heading(runs))

    def add(self, text: str) -> None:
        """Some more lines."""
        print(text, flush=True)
        with self._file.open("a", encoding="utf-8") as file:
            print(text, file=file)


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


def bars(section: str, found: Mapping[str, Sequence[Row]]) -> tuple[Mapping[str, Bars], str]:
    """What to draw of a section, and in which unit."""
    if section == "scale":
        busy = {title: 100 * rows[0].busy for title, rows in found.items()}
        return {"how busy they are": busy}, "% of their time"
    return {
        f"{section}: {title}": {row.peer: row.items_per_second for row in rows}
        for title, rows in found.items()
    }, "items/s"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", help=" ".join(SECTIONS))
    parser.add_argument("--runs", type=int, default=5, help="of each peer; a long run is one")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for section in options.sections or SECTIONS:
        _run(section, options.runs, options.out)


def _run(section: str, runs: int, out: Path) -> None:
    if section == "long_run":
        Report(section, 1, out).add(long_run.report())
        return
    report = Report(section, runs, out)
    if section == "crawl":
        text, shares = crawl.report(crawl.ALL, crawl.Load(crawl.PAGES, crawl.KILOBYTES, 1), runs)
        report.add(text)
        plot({"crawl": shares}, "of the ideal", out / "crawl.svg")
        return
    found: dict[str, Sequence[Row]] = {}
    for group in (group for group in GROUPS if group.section == section):
        found[group.title] = list(measure(group, runs))
        report.add(table(group, found[group.title]))
    plot(*bars(section, found), out / f"{section}.svg")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
