"""What a pool's process may lack for a while: file descriptors, or processes."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import refusing


@contextlib.contextmanager
def no_descriptors(but: int | None = None) -> Iterator[None]:
    """Nothing more can be opened in this process; with *but*, nothing from that number on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if but is None else but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Forks:
    """Lets the forks of a pool fail and succeed again: this process's, and its fork server's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self._file = folder / "refused"
        self.refused = 0
        monkeypatch.setenv(refusing.VARIABLE, str(self._file))

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        def refuse(*_: object) -> int:
            self.refused += 1
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        self._file.touch()
        with self._monkeypatch.context() as patch:
            patch.setattr(os, "fork", refuse)
            patch.setattr(subprocess.Popen, "_execute_child", refuse)
            yield
        self._file.unlink()
