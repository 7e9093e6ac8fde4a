"""How a worker process comes to be, for each start method. Together with ``lane``, the only place
that creates processes, queues and pipes.

multiprocessing's own ``spawn`` and ``forkserver`` run the user's ``__main__`` again in every child,
which would start a second crawl where a script has no ``__main__`` guard. So the preparation data
is made here, without it. The Popen classes otherwise do what those of CPython 3.10 to 3.13 do.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from functools import partial
from multiprocessing import (
    connection,
    context,
    forkserver,
    get_context,
    get_start_method,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    reduction,
    set_start_method,
    spawn,
    util,
)
from multiprocessing.process import BaseProcess
from typing import Any

if sys.platform == "win32":
    raise ImportError(
        "scrapy_mpworkers needs Linux or macOS: its workers rely on process groups and pipes as "
        "POSIX has them. Remove scrapy_mpworkers.Addon from ADDONS on this machine."
    )

from scrapy_mpworkers.pool.forkserver import ForkServer, Wanted, servers, tracker_fd
from scrapy_mpworkers.worker import hash_seed

#: "Exit code" of a worker whose fork server died. multiprocessing says 255, which a worker can
#: say too.
SERVER_GONE = 1 << 16


class Processes:
    """Makes workers by one start method.

    Args:
        method: ``"forkserver"``, ``"spawn"`` or ``"fork"``.
        wanted: how the workers live, and what the fork server imports once for all of them.
    """

    def __init__(self, method: str, wanted: Wanted) -> None:
        self.method = method
        self.conditions = wanted.conditions
        self.context = get_context(method)
        self._wanted = wanted
        self._server: ForkServer | None = None

    def take_server(self) -> None:
        """Have a fork server, if one is needed: call it before the first worker is made."""
        if self.method == "forkserver":
            self._server = servers.take(self._wanted)

    def kill_server(self) -> None:
        """End a server that hangs; a start that waits for it fails."""
        if self._server is not None:
            self._server.kill()

    def retire_server(self) -> None:
        """The same for good: a start that comes later fails, too."""
        if self._server is not None:
            self._server.retire()

    def process(self, target: Any, args: tuple[Any, ...], name: str) -> BaseProcess:
        """A process that is not started yet.

        A daemon, so that multiprocessing ends it at exit, should everything else fail.
        """
        process: BaseProcess = self.context.Process(  # type: ignore[attr-defined]
            target=target, args=args, name=name, daemon=True
        )
        process._Popen = partial(_launch_by, _POPEN[self.method], self._server)  # type: ignore[attr-defined]
        return process

    def close(self) -> None:
        """Let the server go. Call it after the last worker has gone."""
        if self._server is not None:
            servers.give_back(self._server)


class _PolledByOne:
    """Lets one thread at a time ask for the exit code.

    Whenever a process is started, by whomever, multiprocessing polls all others of the parent. An
    exit code can be collected once: of two threads that try it together one would come away
    without.
    """

    server: ForkServer | None

    def __init__(self, process_obj: BaseProcess) -> None:
        self._polling = threading.Lock()
        super().__init__(process_obj)  # type: ignore[call-arg]

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        with self._polling:
            return super().poll(flag)  # type: ignore[misc, no-any-return]


class _ForkPopen(_PolledByOne, popen_fork.Popen):
    """As popen_fork's."""


class _ServerPopen(_PolledByOne, popen_forkserver.Popen):
    """As popen_forkserver's, with our server and our preparation data."""

    server: ForkServer
    _fds: list[int]

    def _launch(self, process_obj: BaseProcess) -> None:
        data = _pickled(self, process_obj)
        self.sentinel, data_w = self.server.request(self._fds)
        # The write end stays open here: its end tells the worker that this process has died.
        kept = os.dup(data_w)
        self.finalizer = util.Finalize(self, util.close_fds, (kept, self.sentinel))  # type: ignore[attr-defined]
        try:
            with open(data_w, "wb", closefd=True) as pipe:
                pipe.write(data)
            self.pid = forkserver.read_signed(self.sentinel)
        except BaseException:
            self.finalizer()  # the server is gone; a traceback would keep both ends open
            raise

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        with self._polling:
            return self._poll(None if flag != os.WNOHANG else 0)

    def _poll(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            if not connection.wait([self.sentinel], timeout):
                return None
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                # The server holds the other end, and it is gone without a word.
                self.returncode = SERVER_GONE
        return self.returncode


class _SpawnPopen(_PolledByOne, popen_spawn_posix.Popen):
    """As popen_spawn_posix's, with our preparation data."""

    _fds: list[int]

    def _launch(self, process_obj: BaseProcess) -> None:
        data = _pickled(self, process_obj)
        tracker = tracker_fd()
        self.sentinel, status_w = os.pipe()
        data_r, data_w = os.pipe()
        self.finalizer = util.Finalize(self, util.close_fds, (data_w, self.sentinel))  # type: ignore[attr-defined]
        try:
            command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=data_r)
            inherited = [*self._fds, tracker, data_r, status_w]
            executable: Any = spawn.get_executable()
            self.pid = _started(executable, command, inherited)
            with open(data_w, "wb", closefd=False) as pipe:
                pipe.write(data)
        finally:
            os.close(data_r)
            os.close(status_w)


def _started(executable: str, command: list[str], fds: list[int]) -> int:
    """The pid of a program that inherits *fds*, as ``util.spawnv_passfds`` starts it, with an
    environment of its own."""
    process = subprocess.Popen(
        command,
        executable=executable,
        pass_fds=fds,
        env=hash_seed.environment(),
        restore_signals=False,
    )
    process.returncode = 0  # whoever has the pid collects it; subprocess is not to ask
    return process.pid


_POPEN = {"forkserver": _ServerPopen, "spawn": _SpawnPopen, "fork": _ForkPopen}


def _launch_by(popen: type[Any], server: ForkServer | None, process_obj: BaseProcess) -> Any:
    # The process object is pickled for the child, which must not get this very function.
    del process_obj._Popen  # type: ignore[attr-defined]
    bound = type(popen.__name__, (popen,), {"server": server})
    return bound(process_obj)


def _pickled(popen: Any, process_obj: BaseProcess) -> bytes:
    data = _preparation_data(process_obj.name)
    for key in ("init_main_from_name", "init_main_from_path"):
        data.pop(key, None)
    buffer = io.BytesIO()
    context.set_spawning_popen(popen)
    try:
        reduction.dump(data, buffer)
        reduction.dump(process_obj, buffer)
    finally:
        context.set_spawning_popen(None)
    return buffer.getvalue()


def _preparation_data(name: str) -> dict[str, Any]:
    """multiprocessing's, which settles this process's own start method in passing: the user could
    not choose one any more (CPython 3.10 to 3.13)."""
    chosen: Any = get_start_method(allow_none=True)
    data = spawn.get_preparation_data(name)
    if chosen is None:
        set_start_method(None, force=True)
    return data


def inherited_by_fork(process: BaseProcess) -> list[int]:
    """The fds of *process* that a sibling forked after it holds too, and must close.

    Above all the pipe whose end tells a worker that its parent has died: with a copy of it in
    every sibling, that end would never come.
    """
    popen = process._popen  # type: ignore[attr-defined]
    if not isinstance(popen, popen_fork.Popen) or popen.finalizer is None:
        return []
    return list(popen.finalizer._args)  # type: ignore[attr-defined]
