"""A crawl that is the first process of a container, where nobody else collects dead orphans."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .harness import PROJECT, SCRAPY, World

if TYPE_CHECKING:
    from .harness import Launcher

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.mark.parametrize(
    ("method", "has_init"),
    [
        ("forkserver", False),
        pytest.param("spawn", True, marks=pytest.mark.full),
        pytest.param("fork", True, marks=pytest.mark.full),
    ],
)
def test_programs_that_pipelines_leave_behind_stay_no_zombies(
    launch: Launcher, method: str, has_init: bool
) -> None:
    try:
        subprocess.run([*CONTAINER, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to have process numbers of its own: {error}")
    inside = [sys.executable, str(SCRAPY), "crawl", "orphans", "-a", "items=40"]
    if has_init:  # any shell collects what it gets
        inside = ["sh", "-c", f"{shlex.join(inside)}; exit $?"]
    command = ["-c", f"import os; os.execvp('unshare', {[*CONTAINER, *inside]!r})"]
    settings = {
        "MPWORKERS_PIPELINES": {"crawled.orphans.Leaves": 300},
        "MPWORKERS_WORKER_MAX_ITEMS": 5,
    }

    ended = launch.start(command, PROJECT, world=World("asyncio", method), **settings).finish()

    [(number, zombies)] = ended.told("zombies")
    assert (number == 1) is not has_init
    assert zombies == 0
    assert "unexpected pid" not in ended.log
    assert ended.numbers == list(range(1, 41))
    assert ended.stats["mpworkers/workers/deaths"] == 0
    assert ended.exit_code == 0
