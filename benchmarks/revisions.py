"""Compares revisions of our own code: what did a change win, what did it cost?

    python -m benchmarks.revisions REVISION [REVISION ...] [--runs 5]

Each is checked out into a folder of its own; ``.`` is the code as it lies here. Runs are
interleaved.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.groups import GROUPS
from benchmarks.measure import ROOT, row, run
from benchmarks.peers import OURS


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A folder with the code of *revision*."""
    if revision == ".":
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", tree, revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], check=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("revisions", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        trees = {name: stack.enter_context(checkout(name)) for name in options.revisions}
        for group in GROUPS:
            spec = group.spec_of(OURS)
            found = {name: [] for name in trees}
            for _ in range(options.runs):
                for name, tree in trees.items():
                    found[name].append(run(spec, tree))
            print(f"{group.section}, {group.title}")
            for name, figures in found.items():
                medians = row(name, spec, figures)
                print(
                    f"  {name:<12} {medians.items_per_second:10,.0f} items/s, parent "
                    f"{medians.cpu * 1e6:8,.1f} µs, workers {medians.worker_cpu * 1e6:10,.1f} µs"
                )


if __name__ == "__main__":
    main()
