"""Compares revisions of our own code: what did a change win, what did it cost?

    python -m benchmarks.revisions REVISION [REVISION ...] [--runs 5] [--only GROUP ...]

``.`` is the code as it lies here. Runs are interleaved; the ratios are to the first revision. The
benchmarks themselves are those that lie here, whatever the revision.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.drive import Figures
from benchmarks.groups import GROUPS, Group
from benchmarks.measure import ROOT, in_turn, row, run
from benchmarks.peers import OURS
from benchmarks.versions import heading


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A folder with the package as it was in *revision*."""
    if revision == ".":
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.tar"
        command = [
            "git",
            "archive",
            "-o",
            str(archive),
            revision,
            "scrapy_mpworkers",
            "pyproject.toml",
        ]
        subprocess.run(command, cwd=ROOT, check=True)
        shutil.unpack_archive(archive, folder)
        name_entry_points(Path(folder))
        yield Path(folder)


def name_entry_points(folder: Path) -> None:
    """Let the package in *folder* be found by its own entry points, not by those installed here."""
    settings = (folder / "pyproject.toml").read_text()
    groups = re.findall(r'^\[project\.entry-points\."([\w.]+)"\]\n((?:\w.*\n)+)', settings, re.M)
    text = "".join(f"[{group}]\n{lines}\n" for group, lines in groups).replace('"', "")
    metadata = folder / "scrapy_mpworkers-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: scrapy-mpworkers\nVersion: 0\n"
    )
    (metadata / "entry_points.txt").write_text(text)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("revisions", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    titles = [group.title for group in GROUPS]
    parser.add_argument("--only", nargs="+", choices=titles, default=titles, metavar="GROUP")
    options = parser.parse_args()
    print(heading(options.runs))
    with ExitStack() as stack:
        folders = {name: stack.enter_context(checkout(name)) for name in options.revisions}
        for group in GROUPS:
            if group.title in options.only:
                compare(group, folders, options.runs)


def compare(group: Group, folders: Mapping[str, Path], runs: int) -> None:
    """One group of runs, with the code of each folder."""
    spec = group.spec_of(OURS)
    found: dict[str, list[Figures]] = {name: [] for name in folders}
    for name in in_turn(list(folders), runs):
        found[name].append(run(spec, folders[name]))
    rows = {name: row(name, spec, figures) for name, figures in found.items()}
    first = next(iter(rows.values()))
    print(f"{group.section}, {group.title}")
    for name, medians in rows.items():
        lag = "" if medians.lag_p99 is None else f", lag p99 {medians.lag_p99 * 1e3:.1f} ms"
        print(
            f"  {name:<12} {medians.items_per_second:10,.0f} items/s "
            f"({medians.items_per_second / first.items_per_second:.2f}), parent "
            f"{medians.cpu * 1e6:8,.1f} µs ({medians.cpu / first.cpu:.2f}), workers "
            f"{medians.worker_cpu * 1e6:10,.1f} µs{lag}",
            flush=True,
        )


if __name__ == "__main__":
    main()
