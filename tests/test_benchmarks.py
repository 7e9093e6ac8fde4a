"""The benchmarks measure what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = """
import sys
from pathlib import Path
from benchmarks.drive import Spec
from benchmarks.measure import run
from benchmarks.peers import OURS
figures = run(Spec(OURS, "nothing", "small", count=300), *map(Path, sys.argv[1:]))
print(figures.seconds > 0 and figures.busy > 0)
"""


def run(*folders: Path) -> subprocess.CompletedProcess[str]:
    """A short run, with the package as it lies in a folder."""
    command = [sys.executable, "-c", RUN, *map(str, folders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.full
def test_a_run_has_figures() -> None:
    ran = run()

    assert ran.stdout == "True\n", ran.stderr[-4000:]


@pytest.mark.full
def test_a_revision_is_measured_with_its_own_code(tmp_path: Path) -> None:
    package = tmp_path / "scrapy_mpworkers"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('the code of that revision')\n")

    ran = run(tmp_path)

    assert "the code of that revision" in ran.stderr
