"""Launches fork servers and asks them for workers; ``worker/fork_server.py`` runs in a server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from multiprocessing import util
from typing import Any, NamedTuple

from scrapy_mpworkers.pool import unshared
from scrapy_mpworkers.pool.interpreter import interpreter
from scrapy_mpworkers.wire.messages import WorkerConfig
from scrapy_mpworkers.worker import fork_server as server_side
from scrapy_mpworkers.worker import hash_seed

#: Servers without a pool that are kept. Crawls of one program seldom differ in more ways.
_KEPT = 4

#: Where modules are that nobody edits between two crawls.
_INSTALLED = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


class ServerSpec(NamedTuple):
    """The imports of a fork server, and how its workers live.

    ``own``: modules of this package. A server must have the user's modules in ``preload``, or each
    worker takes seconds to import them. Those in ``also`` are light: a server may lack them.
    """

    own: tuple[str, ...]
    preload: tuple[str, ...]
    also: tuple[str, ...]
    config: WorkerConfig


class ForkServer:
    """Forks workers. Other users of multiprocessing's own server would get our imports.

    Raises:
        SettingError: there is no interpreter to run it.
    """

    def __init__(self, wanted: ServerSpec) -> None:
        self._executable = interpreter(
            "MPWORKERS_START_METHOD is 'forkserver'",
            "MPWORKERS_START_METHOD = 'fork', or MPWORKERS_WORKERS = 0 for Scrapy's own process",
        )
        self._spec = wanted
        self._preload = tuple(dict.fromkeys([*wanted.preload, *wanted.also]))
        self._surroundings = _surroundings()
        self._made_at = time.time()
        # Dated ahead when a clock was wrong: the server has read them nevertheless.
        self._ahead = _edits_since(self._made_at)
        self._process: subprocess.Popen[bytes] | None = None
        self._release: util.Finalize[Any] | None = None
        self._requests = -1
        self._is_retired = False

    def fits(self, wanted: ServerSpec) -> bool:
        """Return whether workers that want such a server may come from this one."""
        return (
            wanted.config == self._spec.config
            and wanted.own == self._spec.own
            and set(wanted.preload) <= set(self._preload)
            and _surroundings() == self._surroundings
            and _edits_since(self._made_at) <= self._ahead
        )

    @property
    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_alive(self) -> bool:
        return self._is_running and not self._is_retired

    def launch(self) -> None:
        """Start the server if there is none; it imports while we go on.

        Requests go through a pair of connected sockets, without an address: nobody else can
        connect, and no file is needed where none may be made, or left behind by a killed crawl.
        """
        if self._is_running:
            return
        self.close()
        ours, theirs = socket.socketpair()
        # The server lives as long as this end is open, in this process alone.
        requests = unshared.keep(ours.detach())
        with theirs:
            try:
                self._process = self._run(theirs.fileno())
            except BaseException:
                unshared.close(requests)
                raise
        if self._is_retired:  # by another thread, just now perhaps
            self.kill()
        self._requests = requests
        # (Not a weakref.finalize: those do nothing any more when multiprocessing's turn comes.)
        self._release = util.Finalize(self, unshared.close, (requests,))

    def request(self, fds: Sequence[int]) -> None:
        """Ask for a worker that inherits *fds*.

        The first is the pipe from which the worker reads its process object, the second the one on
        which the server tells the worker's pid and, at its end, exit code; or, negative, the number
        of the error because of which it cannot fork.
        """
        self.launch()
        try:
            self._send(fds)
        except (BrokenPipeError, ConnectionResetError):
            # Killed a moment ago, so that launch() has still seen it alive.
            self.kill()
            self.close()
            self.launch()
            self._send(fds)

    def _send(self, fds: Sequence[int]) -> None:
        requests = socket.socket(fileno=self._requests)
        try:
            socket.send_fds(requests, [bytes([len(fds)])], fds)
            # Whoever has stopped it (SIGSTOP) has not stopped the crawl, which would wait for it.
            self.kill(signal.SIGCONT)
            if server_side.ACKNOWLEDGES and not requests.recv(1):
                raise BrokenPipeError
        finally:
            requests.detach()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(signum)

    def retire(self) -> None:
        """End the server, and each that may be launched after it."""
        self._is_retired = True
        self.kill()

    def close(self) -> None:
        if self._release is not None:
            self._release()
        if self._process is not None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._release = None

    def forget(self) -> None:
        """Let go of the server in a process that was forked from the one that has it."""
        if self._process is not None:
            self._process.poll()  # it is no child of this process: done with, without a warning

    def _run(self, requests_fd: int) -> subprocess.Popen[bytes]:
        config = self._spec.config
        code = server_side.program(
            requests_fd,
            os.getpid(),
            dict(config.environment),
            config.paths,
            self._spec.own,
            self._preload,
            config.prelude.settings_module,
        )
        flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
        return subprocess.Popen(
            [self._executable, *flags, "-c", code],
            stdin=subprocess.DEVNULL,
            env=hash_seed.environment(),
            pass_fds=(requests_fd,),
            # A session of its own: the terminal's Ctrl-C is for Scrapy alone.
            start_new_session=True,
        )


class Servers:
    """Keeps the servers that no pool has, so that the next crawl's workers start at once."""

    def __init__(self) -> None:
        self._idle: list[ForkServer] = []  # the one that came last is at the end
        self._access = threading.Lock()  # pools give back from a thread of theirs
        self._at_exit: util.Finalize[Any] | None = None

    def prepare(self, wanted: Sequence[ServerSpec]) -> None:
        """Have a server for each of *wanted*, launched but perhaps not ready; do not wait."""
        self._end_at_exit()
        with self._access:
            unassigned = list(self._idle)
            for one in wanted:
                server = _fitting(unassigned, one)
                if server is None:
                    server = ForkServer(one)
                    server.launch()
                    self._idle.append(server)
                else:
                    unassigned.remove(server)
        self._close_surplus(max(_KEPT, len(wanted)))

    def take(self, wanted: ServerSpec) -> ForkServer:
        """Return a server for one pool alone, which may have to be launched yet."""
        self._end_at_exit()
        with self._access:
            server = _fitting(self._idle, wanted)
            if server is None:
                return ForkServer(wanted)
            self._idle.remove(server)
            return server

    def give_back(self, server: ForkServer) -> None:
        """Take back the server of a pool that has ended; may wait for the end of one not kept."""
        if server.is_alive:
            with self._access:
                self._idle.append(server)
            self._close_surplus(_KEPT)
        else:
            server.close()

    def close(self) -> None:
        """End all servers: at once, though they may still import what nobody has asked for."""
        with self._access:
            idle, self._idle = self._idle, []
        for server in idle:
            server.kill()
            server.close()

    def forget(self) -> None:
        """Let go of all in a process that was forked from the one that has them."""
        for server in self._idle:
            server.forget()
        self._idle.clear()
        self._access = threading.Lock()  # whoever holds the old one is a thread of that process
        self._at_exit = None

    def _end_at_exit(self) -> None:
        # A child of multiprocessing starts without the finalizers of its parent.
        if self._at_exit is None or not self._at_exit.still_active():
            # Behind the pools' own finalizers (see there), before multiprocessing's.
            self._at_exit = util.Finalize(None, self.close, exitpriority=50)

    def _close_surplus(self, kept: int) -> None:
        with self._access:
            alive = [server for server in self._idle if server.is_alive]
            surplus = [server for server in self._idle if server not in alive[-kept:]]
            self._idle = alive[-kept:]
        for server in surplus:
            server.kill()
            threading.Thread(target=server.close, daemon=True).start()


def _fitting(servers: Sequence[ForkServer], wanted: ServerSpec) -> ForkServer | None:
    return next((one for one in reversed(servers) if one.is_alive and one.fits(wanted)), None)


servers = Servers()
os.register_at_fork(after_in_child=servers.forget)


def _surroundings() -> tuple[Any, ...]:
    """Return what workers inherit from their server: environment, output, CPUs."""
    outputs = []
    for fd in (1, 2):
        with contextlib.suppress(OSError):  # closed
            status = os.fstat(fd)
            outputs.append((fd, status.st_dev, status.st_ino))
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return dict(os.environ), outputs, cpus


def _edits_since(moment: float) -> set[tuple[str, float]]:
    """Return the source files that this process has imported, but for the installation, and that
    were edited after *moment* (``time.time()``), and when.

    The system's own note of it (``st_ctime``) is asked for: everybody can give a file another date.
    """
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    edited = set()
    for file in files:
        if file and not file.startswith(_INSTALLED):
            with contextlib.suppress(OSError):
                edited.add((file, os.stat(file).st_ctime))
    return {(file, at) for file, at in edited if at > moment}
