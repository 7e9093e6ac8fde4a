"""A crawl may run in a process of somebody else, and in places where little is to be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from exits import await_exits
from plain import plain_first

from .harness import DEADLINE, METHODS, PROJECT, SCRIPTS, World, offload, rotated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .harness import Crawl, Ended, Launcher

#: The process that crawls, and whether it is a daemon, which multiprocessing forbids children.
HOSTS = {
    "fork": True,
    "spawn": True,
    "forkserver": True,
    "pool": True,
    "executor": False,
    "work_horse": False,
}


@rotated("host", list(HOSTS))
def test_two_crawls_run_in_turn_in_a_child(launch: Launcher, host: str, world: World) -> None:
    ended = launch.script("hosted.py", host, world=world).finish()

    assert_crawled_twice(ended, is_daemon=HOSTS[host])
    assert ended.exit_code == 0


@rotated("host", METHODS, start=1)
def test_classes_of_a_script_cross_from_a_child_that_has_run_it_again(
    launch: Launcher, host: str, world: World
) -> None:
    ended = launch.script("hosted_script.py", host, world=world).finish()

    assert ended.numbers == [1, 2, 3], ended.log
    assert int(ended.out.split()[-1]) not in {item["pid"] for item in ended.items}
    assert "ERROR" not in ended.log


@rotated("signum", [signal.SIGTERM, signal.SIGKILL], start=3)
def test_daemon_that_is_ended_in_mid_crawl_leaves_nothing(
    launch: Launcher, signum: signal.Signals, world: World
) -> None:
    crawl = launch.script("hosted.py", "fork", world=world, held=True, **offload("Gate"))
    (child,) = crawl.wait_told("crawling_in")
    crawl.wait_told("busy", 2)

    os.kill(child, signum)  # as Process.terminate() and kill() do it
    # An application that runs its own loop has none of Scrapy's signal handlers.
    is_polite = signum == signal.SIGTERM and world.mode != "none"
    if is_polite:
        crawl.wait_for("Received SIGTERM, shutting down gracefully")
        crawl.open_gate()
    ended = crawl.finish()

    assert (ended.stats["mpworkers/items/done"] >= 6) == is_polite


@pytest.mark.full
def test_daemon_ends_its_crawl_when_its_parent_exits(launch: Launcher) -> None:
    world = World("asyncio", "forkserver")
    crawl = launch.script("hosted.py", "fork", world=world, held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    # The parent gets a KeyboardInterrupt, and multiprocessing terminates its daemons at exit.
    crawl.send(signal.SIGINT)
    crawl.wait_for("Received SIGTERM, shutting down gracefully")
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.stats["mpworkers/items/done"] >= 6


@pytest.fixture
def start_celery(launch: Launcher, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Crawl]:
    pytest.importorskip("celery")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    command = ["worker", "-c", "1", "-l", "INFO", *quiet]

    def start(
        module: str, method: str, cwd: Path = SCRIPTS, limit: float = DEADLINE, **options: Any
    ) -> Crawl:
        monkeypatch.setenv("CRAWL_TASK_LIMIT", str(limit))
        monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
        app = ["-m", "celery", "-A", module, *command]
        return launch.start(app, cwd, world=World("asyncio", method), **options)

    return start


@pytest.mark.full
def test_celery_task_of_the_documentation_crawls(start_celery: Callable[..., Crawl]) -> None:
    crawl = start_celery("documented_task", "forkserver", cwd=PROJECT, **offload("Mark"))
    crawl.wait_for("succeeded in")
    crawl.kill_main()  # an end that is more polite takes Celery 4 seconds
    ended = crawl.finish()

    assert ended.numbers == [1, 2, 3]
    assert {item["pid"] for item in ended.items} <= set(ended.told("opened"))
    assert "ERROR" not in ended.log


@pytest.mark.full
@pytest.mark.parametrize("method", METHODS)
def test_celery_task_may_crawl(start_celery: Callable[..., Crawl], method: str) -> None:
    crawl = start_celery("celery_tasks", method)
    crawl.wait_for("succeeded in")
    crawl.kill_main()

    assert_crawled_twice(crawl.finish(), is_daemon=True)


@pytest.mark.full
@pytest.mark.parametrize("method", METHODS)
def test_celery_task_killed_by_its_time_limit_leaves_nothing(
    start_celery: Callable[..., Crawl], method: str
) -> None:
    crawl = start_celery("celery_tasks", method, limit=15, held=True, **offload("Gate"))
    busy = [pid for _, pid in crawl.wait_told("busy", 2)]
    crawl.wait_for("Hard time limit")

    await_exits([psutil.Process(pid) for pid in busy if psutil.pid_exists(pid)], 1)

    assert not {process.pid for process in crawl.processes()} & set(busy)
    crawl.kill_main()
    crawl.finish()


@pytest.mark.parametrize("method", plain_first(METHODS))
def test_killed_crawl_leaves_nothing_in_a_folder_with_a_long_path(
    launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    world = World("asyncio", method)
    crawl = launch.crawl("pages", world, "items=2", held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    crawl.kill_main()
    crawl.finish()

    assert list(folder.iterdir()) == []


def test_crawl_needs_no_folder_for_temporary_files(launch: Launcher, tmp_path: Path) -> None:
    # Everything is read-only but for the crawl's own folder.
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind / / && ! touch /tmp/any && shift &&'
        ' exec "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path)]
    try_out = subprocess.run([*command, "true"], capture_output=True, check=False)
    if try_out.returncode:
        pytest.skip("no file system can be made read-only here")
    code = f"import os; os.execvp('unshare', {[*command, sys.executable]!r} + os.sys.argv[1:])"

    ended = launch.start(
        ["-c", code, SCRIPTS / "hosted.py", "fork"],
        SCRIPTS,
        world=World("none", "forkserver"),
    ).finish()

    assert_crawled_twice(ended, is_daemon=True)


def assert_crawled_twice(ended: Ended, is_daemon: bool) -> None:
    """All items were processed in workers, and the host's rights were the same all the time."""
    before, meanwhile, after = ended.told("rights")
    assert before == meanwhile == after == [is_daemon, not is_daemon]
    assert ended.numbers == sorted([*range(1, 7)] * 2)
    assert ended.told("crawling_in")[0] not in {item["pid"] for item in ended.items}
    assert "ERROR" not in ended.log
