"""Crawls where the system, or the application around them, takes away what workers usually have."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from .harness import PROJECT, SCRAPY, SCRIPTS, World, offload

if TYPE_CHECKING:
    from .harness import Ended, Launcher


def crawl(launch: Launcher, what: str, method: str, items: int, *names: str, **more: Any) -> Ended:
    """A crawl to its end in the surroundings that are called `what`."""
    command = [SCRIPTS / "surroundings.py", what, SCRAPY, "crawl", "pages", "-a", f"items={items}"]
    world = World("asyncio", method)
    return launch.start(command, PROJECT, world=world, **offload(*names), **more).finish()


def methods(*quick: str) -> pytest.MarkDecorator:
    """These start methods; in the full run all of them."""
    slower = {"forkserver", "spawn", "fork"} - set(quick)
    full = [pytest.param(method, marks=pytest.mark.full) for method in sorted(slower)]
    return pytest.mark.parametrize("method", [*quick, *full])


def assert_poison_is_given_up(ended: Ended) -> None:
    assert ended.exit_code == 0
    assert ended.numbers == [n for n in range(1, 31) if n != 13]
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert ended.stats["mpworkers/workers/deaths"] == 3


@pytest.mark.full
@methods("fork")
@pytest.mark.parametrize("what", ["no_handles", "reaper"])
def test_deaths_are_noticed_without_process_handles_and_without_exit_codes(
    launch: Launcher, what: str, method: str
) -> None:
    assert_poison_is_given_up(crawl(launch, what, method, 30, "Poisoned"))


@pytest.mark.full
@methods("forkserver")
def test_gevent_patches_before_scrapy_change_nothing(launch: Launcher, method: str) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")

    assert_poison_is_given_up(crawl(launch, "gevent", method, 30, "Poisoned"))


@pytest.mark.full
@methods("spawn")
def test_too_few_files_end_the_crawl_with_a_sentence_that_names_the_limit(
    launch: Launcher, method: str
) -> None:
    ended = crawl(launch, "few_files", method, 6, "Mark")

    said = "no worker can be started: Too many open files: this process may have 20 (ulimit -n)"
    assert said in ended.log
    assert "AttributeError" not in ended.log
    assert ended.numbers == []


def may_mount() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "ro", "none", "/dev/shm"]
    try:
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


@methods("forkserver")
def test_a_system_without_semaphores_ends_the_crawl_with_cause_and_remedy(
    launch: Launcher, method: str
) -> None:
    if not may_mount():
        pytest.skip("may not mount anything over /dev/shm")

    ended = crawl(launch, "no_semaphores", method, 6, "Mark")

    [sentence] = [line for line in ended.log.splitlines() if "pool.executor] ERROR" in line]
    assert "no worker can be started" in sentence
    assert "/dev/shm, which must be there and writable. Mount a tmpfs on it" in sentence
    assert "could not be started" not in ended.log
    assert ended.numbers == []


@pytest.mark.full
@methods("forkserver")
def test_pipeline_that_kills_every_worker_breaks_the_pool_early_and_says_why(
    launch: Launcher, method: str
) -> None:
    ended = launch.crawl("pages", World("asyncio", method), "items=60", **offload("Exits")).finish()

    [sentence] = [line for line in ended.log.splitlines() if "pool.executor] ERROR" in line]
    assert "6 items in a row killed 18 workers and were given up" in sentence
    assert "exited with code 3. Look for the first error of a worker in the log" in sentence
    assert ended.stats["mpworkers/workers/started"] < 25
    assert ended.stats["mpworkers/items/dead_lettered"] == 60
    assert "'finish_reason': 'mpworkers_broken'" in ended.log
    assert "nothing came to the workers" not in ended.log
    assert "no worker got any of the items done" in ended.log
    assert re.search(r"no worker got any of the items done, \d+ died \(\d+ × exit_3", ended.log)
