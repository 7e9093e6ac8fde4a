"""TEST SIDE of the zygote: crawls that begin in a process which has imported Scrapy already.

Most of a small crawl is the import of Scrapy, of all that it loads, and of Twisted: a zygote (as
Android and Chromium name it) has done that once, and each crawl is a fork of it. What runs in the
fork is the command that was asked for, from its first line: nothing of the project's, of the
add-on's or of a reactor is there before. One zygote serves the process that runs the tests, and
ends with it.

One thing differs: what was imported is frozen, so a crawl's ``PageCollector`` leaves Python's
collector as it is, as where the application has frozen its objects.

``FRESH_CRAWLS=1`` starts an interpreter for each crawl instead, as the full run does.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TAG = "CRAWL_TAG"
"""The variable in its environment by which a crawl's processes are known from outside."""
TAG_LENGTH = 32

_TESTS = Path(__file__).parents[1]

#: Of the zygote, before a test has changed anything; and in it, room for a tag.
_ENVIRONMENT = os.environ | {"PYTHONFAULTHANDLER": "1", TAG: "-" * TAG_LENGTH}


def can_start(command: Sequence[str | Path], env: Mapping[str, str]) -> bool:
    """Whether a fork would be what a new interpreter is: none whose flags or environment differ."""
    return (
        sys.platform == "linux"
        and not os.environ.get("FRESH_CRAWLS")
        and not str(command[0]).startswith("-")
        and _for_python(env) == _for_python(_ENVIRONMENT)
    )


def start(
    command: Sequence[str | Path], cwd: Path, env: Mapping[str, str], out: int, err: int
) -> Forked:
    """Run a script with its arguments in a fork, at the head of a session of its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        request = {"command": [str(word) for word in command], "cwd": str(cwd), "env": dict(env)}
        fds = [out, err, theirs.fileno()]
        socket.send_fds(_zygote(), [json.dumps(request).encode()], fds)
    return Forked(ours)


class Forked:
    """A process that the zygote has forked, with the methods of a ``subprocess.Popen``."""

    def __init__(self, news: socket.socket) -> None:
        self._news = news
        if not (pid := news.recv(100)):
            raise RuntimeError("the zygote has ended; its traceback is on stderr")
        self.pid = int(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._read_end(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._read_end(timeout) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _read_end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._news], [], [], timeout)[0]:
            self.returncode = int(self._news.recv(100))
            self._news.close()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _zygote() -> socket.socket:
    """Start it. It is nobody's child, so that tests which count children do not see it, and ends
    when nobody can ask it for anything any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.run(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=_TESTS,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not a terminal, as a crawl's file is none
            pass_fds=[theirs.fileno()],
            check=True,
        )
    atexit.register(ours.close)
    return ours


def _for_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}
