"""Runs in the fork server: imports once what all workers need, then forks one on request.

Unlike CPython's ``multiprocessing.forkserver.main`` it goes on when a fork fails, and it ends even
if a process that was forked from its killed parent has inherited the parent's pipes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing import forkserver
from typing import Any, NoReturn

from scrapy_mpworkers.wire.search_path import search_path
from scrapy_mpworkers.worker import hash_seed, prelude
from scrapy_mpworkers.worker.ending import flush
from scrapy_mpworkers.worker.leftovers import leaves_something
from scrapy_mpworkers.worker.names import name_process
from scrapy_mpworkers.worker.process import adopt_orphans, run_and_exit

#: Descriptors in one request, at most: SCM_MAX_FD of Linux.
_MOST_FDS = 253
#: Whether the server says that descriptors have arrived. On macOS the parent must not close them
#: before (bpo-14669; CPython 3.14 does it everywhere, which costs a wait for the server).
ACKNOWLEDGES = sys.platform == "darwin"


def main(
    requests_fd: int,
    parent: int,
    own: Sequence[str],
    modules: Sequence[str],
    settings_module: str | None,
) -> None:
    """Import modules and serve until the parent, a pid, has closed its end of ``requests_fd``.

    All workers would share what a module has left open. The module cannot be unimported, so the
    server begins anew without it, in the same process. If that was the settings module, the server
    imports no module of the user's, as they come after it.

    Args:
        own: modules of this package; the others are the user's.
    """
    hash_seed.restore()
    name_process("fork server", "mpw fork server")
    gc.disable()  # imports leave hardly any garbage; a worker turns it on again
    _ignore_polite_signals()
    users = (settings_module, *modules)
    if modules and leaves_something(lambda: prelude.begin(settings_module), users):
        _begin_anew(program(requests_fd, parent, {}, (), own))
    for name in own:
        _import(name)
    shared = [name for name in modules if leaves_something(partial(_import, name), users)]
    if shared:
        rest = [name for name in modules if name not in shared]
        _begin_anew(program(requests_fd, parent, {}, (), own, rest, settings_module))
    _ignore_polite_signals()  # a module may have had handlers of its own for Scrapy's process
    os.set_inheritable(requests_fd, False)
    _write_buffers()
    _freeze()
    adopt_orphans()
    Forking(requests_fd, parent).run()


def program(
    requests_fd: int,
    parent: int,
    environment: Mapping[str, str],
    paths: Sequence[str],
    own: Sequence[str],
    modules: Sequence[str] = (),
    settings_module: str | None = None,
) -> str:
    """Return code for ``python -c`` that runs :func:`main` with the present path and *paths*.

    Path and environment travel in the code. The parent's own environment is not ours to change,
    and before 3.12 CPython's fork server does not get the parent's path.
    """
    arguments = requests_fd, parent, tuple(own), tuple(modules), settings_module
    return (
        f"import os, sys; sys.path[:] = {[*search_path(), *paths]!r}; "
        f"os.environ.update({dict(environment)!r}); "
        f"from {__name__} import main; main{arguments!r}"
    )


def _begin_anew(code: str) -> None:
    # orig_argv is the interpreter, its flags, "-c" and the code that called main().
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:-1], code], hash_seed.environment())


def _ignore_polite_signals() -> None:
    # Service managers signal every process; without the server all exit handles would fire.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _import(module: str) -> None:
    # Any error: the workers import it again and report it properly; here it would end the
    # server, and the parent would see a bare EOFError.
    with contextlib.suppress(BaseException):
        importlib.import_module(module)


def _freeze() -> None:
    # The collectors of the workers leave imported objects alone from now on. Else each would write
    # to, and so copy, the memory that all share (as gc.freeze's documentation says).
    gc.freeze()


def _write_buffers() -> None:
    """Write what the imports have printed and logged. Else each worker would write it, too."""
    handlers = [one() for one in logging._handlerList]  # type: ignore[attr-defined]
    flush([sys.stdout, sys.stderr, *filter(None, handlers)])


class Forking:
    """Forks a worker for each request of the parent, and tells it how each of them ends.

    Args:
        requests_fd: the socket on which requests come: one byte, how many file descriptors come
            with it, and these. The first two are for the worker's process object and for what is
            told of it, the third is the pipe to multiprocessing's resource tracker.
        parent: the pid of the process at the other end.
    """

    def __init__(self, requests_fd: int, parent: int) -> None:
        self._requests = socket.socket(fileno=requests_fd)
        self._workers: dict[int, int] = {}  # pid → where to tell the exit code
        self._deaths, self._deaths_w = os.pipe()
        self._parent = _process_handle(parent)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._requests, selectors.EVENT_READ, self._answer)
        self._selector.register(self._deaths, selectors.EVENT_READ, self._collect)
        if self._parent >= 0:
            self._selector.register(self._parent, selectors.EVENT_READ, self._end)
        for fd in (self._deaths, self._deaths_w):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._deaths_w)
        # A handler, though it does nothing: without one the wakeup fd is silent. And whoever has
        # started this process may have blocked the signal; workers shall find it as it was.
        self._handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._collect()

    def run(self) -> NoReturn:
        """Serve until the parent has closed its end of the socket, or is dead."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _answer(self) -> None:
        count, fds, *_ = socket.recv_fds(self._requests, 1, _MOST_FDS)
        if not count:
            self._end()
        if ACKNOWLEDGES:
            self._requests.send(b"A")
        if len(fds) == count[0]:
            self._fork(*fds)
        else:  # too many open files: the end of the pipe tells the parent that the fork failed
            _close(fds)

    def _fork(self, data_r: int, status_w: int, tracker: int, *fds: int) -> None:
        try:
            answer = os.fork()
        except OSError as error:
            answer = -(error.errno or 1)
        if answer == 0:
            run_and_exit(lambda: self._work(data_r, status_w, tracker, *fds))
        _tell(status_w, answer)
        if answer > 0:
            self._workers[answer] = status_w
        else:
            os.close(status_w)
        _close([data_r, tracker, *fds])

    def _work(self, data_r: int, status_w: int, tracker: int, *fds: int) -> int:
        self._selector.close()
        self._requests.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        unused = [status_w, self._deaths, self._deaths_w, *self._workers.values()]
        if self._parent >= 0:
            unused.append(self._parent)
        # None replaces the pipe of multiprocessing's own server.
        serve: Any = forkserver._serve_one  # type: ignore[attr-defined]
        return int(serve(data_r, [None, tracker, *fds], unused, {signal.SIGCHLD: self._handler}))

    def _collect(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._deaths, 1 << 16)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                # (Else it is a process that a worker left behind, or a preloaded module started.)
                if (status_w := self._workers.pop(pid, None)) is not None:
                    _tell(status_w, os.waitstatus_to_exitcode(status))
                    os.close(status_w)

    def _end(self) -> NoReturn:
        """Kill the workers that are left, with all that they have started, and end."""
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.killpg(pid, signal.SIGKILL)  # a group that it may not have made yet
        raise SystemExit


def _process_handle(pid: int) -> int:
    """Return a descriptor that becomes readable when the parent is dead; -1 where there is none.

    Without it the end of the socket has to do. That does not come while a process that native code
    has forked from the parent holds the other end.
    """
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux; an old kernel, a sandbox; or it is dead
        handle = -1
    if os.getppid() != pid:
        raise SystemExit
    return handle


def _tell(status_w: int, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more
        forkserver.write_signed(status_w, number)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
