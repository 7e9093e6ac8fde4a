"""Forks a worker for each request of the parent, and tells it how each of them ends.

CPython's ``multiprocessing.forkserver.main`` does the same behind an address, which is a file in a
folder for temporary files. It ends, and all workers with it, when a fork fails; and it lives on
with them when a process that was forked from its killed parent has inherited the parent's pipes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing import forkserver, reduction, util
from typing import Any, NoReturn

#: Descriptors in one request, at most: SCM_MAX_FD of Linux.
_MOST_FDS = 253


class Forking:
    """The loop of a fork server.

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
        self._hear_of_deaths()

    def run(self) -> NoReturn:
        """Serve until the parent has closed its end of the socket, or is dead."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _hear_of_deaths(self) -> None:
        for fd in (self._deaths, self._deaths_w):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._deaths_w)
        # A handler, though it does nothing: without one the wakeup fd is silent. And whoever has
        # started this process may have blocked the signal; workers shall find it as it was.
        self._handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._collect()

    def _answer(self) -> None:
        count, fds, *_ = socket.recv_fds(self._requests, 1, _MOST_FDS)
        if not count:
            self._end()
        if reduction.ACKNOWLEDGE:
            self._requests.send(b"A")
        if len(fds) == count[0]:
            self._fork(*fds)
        else:  # this process may not have so many: the end of the pipe tells that it failed
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
        # The parent's multiprocessing would have its server's pipe in the place of None.
        serve: Any = forkserver._serve_one  # type: ignore[attr-defined]
        return int(serve(data_r, [None, tracker, *fds], unused, {signal.SIGCHLD: self._handler}))

    def _collect(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._deaths, 1 << 16)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                # (It may be what a worker has left behind, or a preloaded module has started.)
                if (status_w := self._workers.pop(pid, None)) is not None:
                    _tell(status_w, os.waitstatus_to_exitcode(status))
                    os.close(status_w)

    def _end(self) -> NoReturn:
        """End, and first the workers that have not noticed, with all that they have started."""
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.killpg(pid, signal.SIGKILL)  # a group that it may not have made yet
        raise SystemExit


def run_and_exit(work: Callable[[], int]) -> NoReturn:
    """Run a worker in a process that was just forked, and end it as multiprocessing would.

    Since CPython 3.13 that includes the functions that the worker has registered with ``atexit``.
    """
    runs_exit_functions = sys.version_info >= (3, 13)
    code = 1
    try:
        if runs_exit_functions:
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
        code = work()
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        if runs_exit_functions:
            atexit._run_exitfuncs()
        os._exit(code)


def _process_handle(pid: int) -> int:
    """A descriptor that becomes readable when the parent is dead; -1 where there is none.

    Without it the end of the socket has to do. That does not come while a process has the other
    end, which native code has forked from the parent.
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
