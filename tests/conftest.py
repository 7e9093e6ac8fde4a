"""How many tests run at a time, and which of them in one process."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["shards"]

#: Tests that share what is expensive (the runner of a combination, the crawl of all refusals, the
#: site in a browser), and those that would disturb each other: the kernel counts its kills for the
#: whole machine.
#: (``--dist=loadgroup`` would do, but xdist 3.8 sees no groups under pytest 9.2.)
TOGETHER = [
    re.compile(r"^tests/system/differential/test_crawls\.py::.*[\[-](\w+-\w+)\]$"),
    re.compile(r"^tests/system/cluster/test_differential\.py::.*-(\w+-\w+)\]$"),
    re.compile(r"^tests/system/crawls/(test_bad_input)\.py::"),
    re.compile(r"^tests/system/torture/(test_memory)\.py::"),
    re.compile(r"^tests/system/site/(test_site)\.py::"),
]


class Together(LoadScopeScheduling):
    """Every test for itself, but for those."""

    def _split_scope(self, nodeid: str) -> str:
        matches = (pattern.search(nodeid) for pattern in TOGETHER)
        return next((match[1] for match in matches if match), nodeid)


def pytest_configure(config: pytest.Config) -> None:
    # Who is started in the background ignores Ctrl-C, and so would all whom the tests start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _environment_is_left_as_it_was() -> Iterator[None]:
    """A crawl of another test would inherit what this one has set."""
    before = dict(os.environ)
    yield
    now = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    before.pop("PYTEST_CURRENT_TEST", None)
    assert now == before


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_finish() -> None:
    # Thousands of tests, and all that they import: a forked worker would copy them, as its
    # collector looks at them, for a third of a second.
    gc.freeze()
