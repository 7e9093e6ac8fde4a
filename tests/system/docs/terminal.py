"""A shell in which the blocks of a page are typed, and a crawl that goes on meanwhile."""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import sysconfig
import threading
import time
import uuid
from typing import TYPE_CHECKING

import psutil
from exits import await_exits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE = 180.0
"""Seconds for all of a page: many times what it takes, since other tests run beside it."""


class Terminal:
    """Runs commands in a folder, with the programs of this environment.

    What it starts is known by a variable in its environment, so that nothing is left behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = folder
        self._printed: list[str] = []
        self._until = time.monotonic() + DEADLINE
        self._tag = uuid.uuid4().hex
        self._crawl: subprocess.Popen[str] | None = None
        self._news: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        state = {"XDG_STATE_HOME": str(folder / "state"), "TYPED_BY": self._tag}
        self._environment = os.environ | {"PATH": path, "COLUMNS": "160"} | state

    def run(self, commands: str) -> str:
        """Run a block to its end and return what it printed. The next one begins in its folder."""
        place = self._home / "place"
        ended = subprocess.run(
            ["bash", "-ec", f"{commands}\npwd > {shlex.quote(str(place))}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self._left(),
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stdout}"
        self.folder = type(self.folder)(place.read_text("utf-8").strip())
        self._printed += ended.stdout.splitlines()
        return ended.stdout

    def start(self, command: str) -> None:
        """Start a crawl that goes on until Ctrl-C."""
        self._crawl = subprocess.Popen(
            ["bash", "-ec", f"exec {command}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a group of its own, as a terminal gives it
        )
        self._reader.start()

    def _read(self) -> None:
        assert self._crawl is not None
        assert self._crawl.stderr is not None
        for line in self._crawl.stderr:
            self._news.put(line.rstrip("\n"))
        self._news.put(None)

    def more(self) -> Iterator[list[str]]:
        """Yield the lines that have been printed and logged so far, then each further one."""
        yield self._all()
        if self._crawl is not None:
            for line in iter(lambda: self._news.get(timeout=self._left()), None):
                self._printed.append(line)
                yield [line]

    def _all(self) -> list[str]:
        logs = (log.read_text("utf-8").splitlines() for log in self.folder.glob("*.log"))
        return [*(line for log in logs for line in log), *self._printed]

    def interrupt(self) -> None:
        """Stop the crawl as Ctrl-C does, and wait for its end."""
        assert self._crawl is not None
        os.killpg(self._crawl.pid, signal.SIGINT)
        for _ in self.more():
            pass
        assert self._crawl.wait(self._left()) == 0
        self._end()

    def last(self, pattern: str) -> str:
        """Return the group of the last line that has matched *pattern*."""
        found = [match[1] for line in self._all() if (match := re.search(pattern, line))]
        assert found, f"nothing is like {pattern!r} in {self._printed}"
        return str(found[-1])

    def survivors(self) -> list[psutil.Process]:
        """Return processes that are still there, though all has ended."""
        return await_exits(self._processes(), 2)

    def _processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            mine = process.environ().get("TYPED_BY") == self._tag
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # gone meanwhile, or another user's
            return False

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def close(self) -> None:
        """Leave nothing behind, however the test ended."""
        while left := self._processes():
            for process in left:
                process.kill()
            await_exits(left, 5)
        if self._crawl is not None:
            self._end()

    def _end(self) -> None:
        assert self._crawl is not None
        assert self._crawl.stderr is not None
        self._crawl.wait()
        self._reader.join()
        self._crawl.stderr.close()
        self._crawl = None
