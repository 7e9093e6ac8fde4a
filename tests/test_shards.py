"""Shards together have every test, and none twice; the plain run has some of each kind."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from pool.harness import METHODS
from shards import COLLECTED, Shard, pytest_collection_modifyitems, shard
from system.crawls.harness import WORLDS

ROOT = Path(__file__).parents[1]


def number_of(name: str, script: str) -> int:
    [number] = re.findall(rf"^{name}=(\d+)$", (ROOT / ".ci" / script).read_text(), re.MULTILINE)
    return int(number)


SHARDS, CHUNKS = number_of("SHARDS", "common"), number_of("CHUNKS", "full")


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> dict[str, bool]:
    """Every test that there is, and whether only the full run has it."""
    found = request.config.stash[COLLECTED]
    folders = {(ROOT / nodeid.partition("::")[0]).parent for nodeid in found}
    # Of files, some have none of their tests where a package is missing.
    if {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - folders:
        pytest.skip("only some of the tests were collected: this looks at all of them")
    return found


@pytest.fixture
def plain(collected: dict[str, bool]) -> list[str]:
    return [nodeid for nodeid, is_full in collected.items() if not is_full]


def test_each_full_test_is_in_exactly_one_shard(collected: dict[str, bool]) -> None:
    full = [nodeid for nodeid, is_full in collected.items() if is_full]

    parts = [run_of(Shard(number, CHUNKS), full) for number in range(1, CHUNKS + 1)]

    assert sorted(nodeid for part in parts for nodeid in part) == sorted(full)
    for number in range(1, SHARDS + 1):
        assert any(map(Shard(number, SHARDS).has, full))


def run_of(chosen: Shard, nodeids: list[str]) -> list[str]:
    """What a run of this shard keeps of the tests."""
    items = [
        SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda name: None) for nodeid in nodeids
    ]
    left_out: list[SimpleNamespace] = []
    config = SimpleNamespace(
        getoption={"shard": chosen}.get,
        stash={},
        hook=SimpleNamespace(pytest_deselected=lambda items: left_out.extend(items)),
    )
    pytest_collection_modifyitems(config, items)  # type: ignore[arg-type]
    assert len(items) + len(left_out) == len(nodeids)
    return [item.nodeid for item in items]


def test_the_plain_run_has_crawls_in_each_loop_mode_by_each_start_method(
    collected: dict[str, bool], plain: list[str]
) -> None:
    worlds = {f"{world.mode}-{world.method}" for world in WORLDS}
    for folder in ("tests/system/crawls/", "tests/system/differential/"):
        names = [name for name in plain if name.startswith(folder)]
        assert {world for world in worlds if any(world in name for name in names)} == worlds
    every = defaultdict(set)
    for name in collected:
        if name.startswith("tests/system/crawls/test_run.py"):
            test, _, case = name.partition("[")
            every[test] |= {world for world in worlds if world in case}
    assert all(found == worlds for found in every.values())


def test_the_plain_run_has_each_start_method_where_tests_of_the_pool_take_turns(
    collected: dict[str, bool], plain: list[str]
) -> None:
    methods = defaultdict(set)  # of each test
    for name in collected:
        test, _, case = name.partition("[")
        if test.startswith("tests/pool/"):
            methods[test] |= set(METHODS) & set(re.split(r"[-\]]", case))
    files = defaultdict(set)
    for test, found in methods.items():
        if found == set(METHODS):
            files[test.partition("::")[0]].add(test)
    several = {file for file, tests in files.items() if len(tests) > 3}

    assert len(several) > 5
    for file in several:
        cases = [name.partition("[")[2] for name in plain if name.startswith(f"{file}::")]
        assert {word for case in cases for word in re.split(r"[-\]]", case)} >= set(METHODS), file


def test_the_plain_run_has_tests_of_each_folder(
    collected: dict[str, bool], plain: list[str]
) -> None:
    def folders(names: list[str]) -> set[str]:
        return {name.partition("::")[0].rpartition("/")[0] for name in names}

    in_ci_only = {"tests/system/docs"}  # by .ci/site, with all else that is done with docs/
    assert folders(plain) | in_ci_only == folders([*collected])


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
