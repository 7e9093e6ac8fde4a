"""Deals tests into shards, of which a run takes one: ``pytest -m full --shard 3/252``.

A test's shard is drawn by its name: each is in exactly one, and in the same one wherever it runs.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

import pytest

COLLECTED = pytest.StashKey[dict[str, bool]]()
"""Every test that was found, and whether only the full run has it; before any is left out."""


class Shard(NamedTuple):
    """One of several shards; the first is number 1."""

    number: int
    count: int

    def has(self, nodeid: str) -> bool:
        return crc32(nodeid.encode()) % self.count == self.number - 1


def shard(text: str) -> Shard:
    """Read ``3/40``.

    Raises:
        ValueError: there is no such shard.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"a shard is given as NUMBER/COUNT, the first is 1/COUNT; not as {text!r}")
    return Shard(int(match[1]), int(match[2]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard", type=shard, metavar="NUMBER/COUNT", help="run one of COUNT parts of the tests"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = {item.nodeid: bool(item.get_closest_marker("full")) for item in items}
    chosen: Shard | None = config.getoption("shard")
    if chosen:
        left_out = [item for item in items if not chosen.has(item.nodeid)]
        items[:] = [item for item in items if chosen.has(item.nodeid)]
        config.hook.pytest_deselected(items=left_out)
