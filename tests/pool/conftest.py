from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

if sys.platform == "win32":  # no signals, groups or named pipes as these tests use them
    collect_ignore_glob = ["*"]
else:
    from . import scripts
    from .harness import Bench, children, comes_true, open_fds, own_threads


@pytest.fixture(scope="session")
def kept_by_multiprocessing() -> Any:
    """What multiprocessing opens at its first use and keeps: not a leak of ours."""
    resource_tracker.ensure_running()
    return get_context("spawn").RawArray("d", 3)


@pytest.fixture
def start_script(tmp_path: Path) -> Iterator[Any]:
    """Starts scripts that own a pool; none outlives its test, however that ends."""
    started: list[Popen[bytes]] = []

    def start(script: str, method: str, said: str, folder: Path = tmp_path) -> Popen[bytes]:
        started.append(scripts.start(script, method, said, folder))
        return started[-1]

    yield start

    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def make_bench(tmp_path: Path, kept_by_multiprocessing: Any) -> Iterator[Any]:
    """Makes benches. Afterwards no process, thread or file descriptor may be left."""
    benches: list[Bench] = []
    fds: dict[str, str] = {}

    def make(method: str, **options: Any) -> Bench:
        if not benches:  # here, because pytest-twisted starts the reactor in the first test's call
            fds.update(open_fds())
        benches.append(Bench(tmp_path, method, **options))
        return benches[-1]

    yield make

    if not benches:  # the test was skipped
        return
    for bench in reversed(benches):  # those that share another's loop and workers first
        bench.close()
    benches.clear()
    assert comes_true(lambda: not children()), children()
    assert comes_true(lambda: not own_threads()), own_threads()
    assert comes_true(lambda: len(open_fds()) <= len(fds)), open_fds().items() - fds.items()


class Reaper:
    """Waits for any child whenever one has ended, as simple init processes and some servers do."""

    def __init__(self) -> None:
        self.collected: list[int] = []
        self._before = signal.signal(signal.SIGCHLD, self._collect)

    def end(self) -> None:
        signal.signal(signal.SIGCHLD, self._before)

    def _collect(self, *_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.collected.append(pid)


@pytest.fixture
def ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def reaper():
    reaper = Reaper()
    yield reaper
    reaper.end()
