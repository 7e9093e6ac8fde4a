"""A run of one shard after the other runs every test, and none twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from shards import Shard, shard
from system.crawls.harness import METHODS, MODES

ROOT = Path(__file__).parents[1]


def collected(*options: str, of: str = "tests/pool/test_deaths.py") -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0"]
    command += [*options, of]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_each_full_test_is_in_exactly_one_shard() -> None:
    full = collected("-m", "full")

    parts = [collected("-m", "full", "--shard", f"{number}/3") for number in (1, 2, 3)]

    assert sorted(nodeid for part in parts for nodeid in part) == sorted(full)
    assert all(parts)


def test_the_plain_run_has_crawls_in_each_loop_mode_by_each_start_method() -> None:
    plain = collected(of="tests/system/crawls")

    worlds = {f"{mode}-{method}" for mode in MODES for method in METHODS}
    assert {world for world in worlds if any(world in name for name in plain)} == worlds
    every = collected("-m", "full or not full", of="tests/system/crawls/test_run.py")
    tests = Counter(name.partition("[")[0] for name in every)
    assert all(count % len(worlds) == 0 for count in tests.values())


def test_shards_are_about_as_large_as_each_other() -> None:
    names = [f"tests/test_some.py::test_{n}[asyncio-fork]" for n in range(4_000)]

    sizes = [sum(Shard(number, 40).has(name) for name in names) for number in range(1, 41)]

    assert sum(sizes) == len(names)
    assert 50 < min(sizes) <= max(sizes) < 150


def test_a_shard_is_read_from_its_text() -> None:
    assert shard("3/40") == (3, 40)


@pytest.mark.parametrize("text", ["0/40", "41/40", "3", "3/", "-1/2", "a/b"])
def test_a_shard_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUMBER/COUNT"):
        shard(text)
