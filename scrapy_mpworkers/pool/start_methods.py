"""Starts worker processes by each start method: forkserver, spawn and fork.

multiprocessing's ``spawn`` and ``forkserver`` would run the user's ``__main__`` again in every
child, so the preparation data is made here, without it. The Popen classes otherwise do what those
of CPython 3.10 to 3.14 do.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing.process
import os
import posix
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import (
    context,
    forkserver,
    get_context,
    get_start_method,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    reduction,
    resource_tracker,
    set_start_method,
    spawn,
    util,
)
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import Any

from scrapy_mpworkers.errors import UNKNOWN_EXIT
from scrapy_mpworkers.pool import unshared
from scrapy_mpworkers.pool.exits import ExitNotice
from scrapy_mpworkers.pool.forkserver import ForkServer, ServerSpec, servers
from scrapy_mpworkers.pool.unshared import Pipes
from scrapy_mpworkers.worker import hash_seed
from scrapy_mpworkers.worker.process import run_and_exit


class Processes:
    """Makes workers by one start method.

    Args:
        method: ``"forkserver"``, ``"spawn"`` or ``"fork"``.
        wanted: how the workers live, and what the fork server imports once for all of them.
    """

    def __init__(self, method: str, wanted: ServerSpec) -> None:
        self.method = method
        self.config = wanted.config
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
        """End a server for good: a start that comes later fails, too."""
        if self._server is not None:
            self._server.retire()

    def start(self, target: Any, args: tuple[Any, ...], name: str) -> Any:
        """Start a process, from a daemonic process too.

        The last lines are those of ``BaseProcess.start`` (CPython 3.10 to 3.14) without the
        assertion that forbids children to daemons, such as the workers of
        ``multiprocessing.Pool``: ours end with their parent nevertheless.
        """
        # A daemon, so that multiprocessing ends it at exit, should everything else fail.
        process: Any = self.context.Process(  # type: ignore[attr-defined]
            target=target, args=args, name=name, daemon=True
        )
        # In a worker of Celery the key is of a class (billiard's) that refuses to be pickled while
        # multiprocessing starts a process.
        process.authkey = bytes(process.authkey)
        multiprocessing.process._cleanup()  # type: ignore[attr-defined]
        process._popen = _POPEN[self.method](process, self._server)
        process._sentinel = process._popen.sentinel
        # BaseProcess drops them as well: they may lead back to the process.
        del process._target, process._args, process._kwargs
        multiprocessing.process._children.add(process)  # type: ignore[attr-defined]
        return process

    def close(self) -> None:
        """Let the server go, after the last worker."""
        if self._server is not None:
            servers.give_back(self._server)


class _Popen(popen_fork.Popen):
    """Starts a worker, all or nothing, and asks for its exit code in one thread at a time.

    multiprocessing polls all other processes whenever it starts one, and an exit code can be
    collected once: of two threads that try at the same time, one would get none.
    """

    _fds: list[int]
    sentinel: int
    questions: int

    def __init__(self, process_obj: BaseProcess, server: ForkServer | None) -> None:
        self._server = server
        self._polling = threading.Lock()
        self._parent = os.getpid()
        super().__init__(process_obj)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if os.getpid() != self._parent:
            return 0  # forked from the parent, this process has no such child
        with self._polling:
            return self._poll(flag)

    def _poll(self, flag: int) -> int | None:
        if self.returncode is None:
            try:
                # Not os.waitpid: gevent's stands there if it has patched (tried: 26.9), and knows
                # of an end only when gevent's own loop runs.
                pid, status = posix.waitpid(self.pid, flag)
            except ChildProcessError:
                # Somebody else has collected it: a handler that waits for any child, or the
                # kernel, if SIGCHLD is ignored. popen_fork takes it for alive (3.10 to 3.14).
                self.returncode = UNKNOWN_EXIT
            else:
                if pid == self.pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def _keep(self, pipes: Pipes, *handles: int) -> None:
        """Have the first of *handles*, or else the pipe, tell of the end; close all behind it."""
        self.sentinel = handles[0] if handles else pipes.status_r
        # Its end tells the child of ours, and a byte in it is a question. Whoever reads none must
        # not keep us waiting.
        self.questions = pipes.data_w
        os.set_blocking(self.questions, False)
        fds = (pipes.status_r, pipes.data_w, *handles)
        self.finalizer = util.Finalize(self, unshared.close, fds)


@contextlib.contextmanager
def _shared_tracker() -> Iterator[None]:
    """Let a child that is forked meanwhile use this process's resource tracker. CPython 3.14 takes
    the tracker from a child that does not say so (gh-146313), which then starts one of its own."""
    intent: Any = getattr(resource_tracker, "_fork_intent", SimpleNamespace())
    intent.preserve_fd = True
    try:
        yield
    finally:
        intent.preserve_fd = False  # in the child as well


class _ForkPopen(_Popen):
    """Forks as popen_fork's does."""

    def _launch(self, process_obj: BaseProcess) -> None:
        with Pipes() as pipes:
            with _shared_tracker():
                self.pid = os.fork()
            if self.pid == 0:
                run_and_exit(lambda: process_obj._bootstrap(parent_sentinel=pipes.data_r))  # type: ignore[attr-defined]
            self._keep(pipes)


class _ServerPopen(_Popen, popen_forkserver.Popen):
    """Starts as popen_forkserver's does, with our server and our preparation data."""

    def _launch(self, process_obj: BaseProcess) -> None:
        assert self._server is not None
        data = _pickled(self, process_obj)
        with Pipes() as pipes:
            tracker: Any = resource_tracker.getfd()
            self._server.request([pipes.data_r, pipes.status_w, tracker, *self._fds])
            pipes.give()
            self.pid = _told_pid(pipes.status_r)  # first: if it cannot fork, it says why
            pipes.send(data)
            self._exit = ExitNotice(self.pid, pipes.status_r)
            self._keep(pipes, *self._exit.fds)

    def _poll(self, flag: int) -> int | None:
        if self.returncode is None:
            self.returncode = self._exit.wait(0 if flag == os.WNOHANG else None)
        return self.returncode


class _SpawnPopen(_Popen, popen_spawn_posix.Popen):
    """Starts as popen_spawn_posix's does, with our preparation data."""

    def _launch(self, process_obj: BaseProcess) -> None:
        data = _pickled(self, process_obj)
        tracker: Any = resource_tracker.getfd()
        with Pipes() as pipes:
            command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=pipes.data_r)
            inherited = [*self._fds, tracker, pipes.data_r, pipes.status_w]
            executable: Any = spawn.get_executable()
            self.pid = _started(executable, command, inherited)
            pipes.give()
            try:
                pipes.send(data)
            except BaseException:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                raise
            self._keep(pipes)


def _started(executable: Any, command: list[str], fds: list[int]) -> int:
    """Start a program, in an environment of its own, that inherits *fds* as
    ``util.spawnv_passfds`` does; return its pid."""
    if subprocess.Popen.__module__ != "subprocess":
        # gevent's patch (tried: 26.9) replaces Popen by a class that works in the main thread only.
        # Without Popen the workers' hash seeds differ.
        return int(util.spawnv_passfds(executable, command, fds))
    process = subprocess.Popen(
        command,
        executable=executable,
        pass_fds=fds,
        env=hash_seed.environment(),
        restore_signals=False,
    )
    process.returncode = 0  # whoever has the pid collects it; subprocess is not to ask
    return process.pid


_POPEN: dict[str, type[_Popen]] = {
    "forkserver": _ServerPopen,
    "spawn": _SpawnPopen,
    "fork": _ForkPopen,
}


def _told_pid(status_r: int) -> int:
    """Return the worker's pid as the fork server tells it, or raise the error that it tells."""
    try:
        answer = int(forkserver.read_signed(status_r))
    except EOFError:
        raise EOFError("the fork server ended before it had forked the worker") from None
    if answer < 0:
        raise OSError(-answer, f"the fork server cannot fork: {os.strerror(-answer)}")
    return answer


@contextlib.contextmanager
def _main_with_spec() -> Iterator[None]:
    """Let ``__main__`` have a ``__spec__`` meanwhile, which multiprocessing reads unasked: that of
    ``python -m pdb`` has none before CPython 3.13, as of other programs that run a script."""
    main: Any = sys.modules["__main__"]
    if hasattr(main, "__spec__"):
        yield
        return
    main.__spec__ = None
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError):
            del main.__spec__


def _pickled(popen: Any, process_obj: BaseProcess) -> bytes:
    chosen: Any = get_start_method(allow_none=True)
    with _main_with_spec():
        data = spawn.get_preparation_data(process_obj.name)
    if chosen is None:
        # The call above has settled this process's own start method in passing (CPython 3.10 to
        # 3.13), and the user could not choose one any more.
        set_start_method(None, force=True)
    for key in ("init_main_from_name", "init_main_from_path"):
        data.pop(key, None)
    data["authkey"] = bytes(data["authkey"])  # see Processes.start
    buffer = io.BytesIO()
    context.set_spawning_popen(popen)
    try:
        reduction.dump(data, buffer)
        reduction.dump(process_obj, buffer)
    finally:
        context.set_spawning_popen(None)
    return buffer.getvalue()
