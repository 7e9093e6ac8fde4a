"""The way of an item stays short, and the root of the package small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Of one dict item, on Scrapy's side; see ``python -m tests.walk``.
MOST_FILES, MOST_MOVES = 17, 46


def test_an_item_passes_few_files_in_few_moves() -> None:
    command = [sys.executable, "-m", "tests.walk"]
    ended = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    *_, last = ended.stdout.splitlines()
    [found] = re.findall(r"^\d+ calls, (\d+) files, (\d+) moves$", last)
    files, moves = map(int, found)
    assert files <= MOST_FILES, ended.stdout
    assert moves <= MOST_MOVES, ended.stdout


def test_the_root_has_only_what_a_user_may_name() -> None:
    modules = {path.stem for path in (ROOT / "scrapy_mpworkers").glob("*.py")} - {"__init__"}

    assert len(modules) <= 12, sorted(modules)
