"""Makes a process a worker: with its own group, deaf to Ctrl-C, and never an orphan."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import gc
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from types import FrameType
from typing import Any, NoReturn

from scrapy_mpworkers.wire.messages import STACKS_FILE, WorkerConfig
from scrapy_mpworkers.worker import ending, hash_seed
from scrapy_mpworkers.worker.names import name_worker
from scrapy_mpworkers.worker.terminal import leave_terminal

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_POLITE = (signal.SIGINT, signal.SIGTERM)


class OwnEnd:
    """Knows whether a file descriptor is still the end of the pipe that it was.

    After ``os.closerange`` of a pipeline, the next file that it opens may have the same number: a
    report would be written into the user's file, and the user's file would be read for a command.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._identity = self._look()

    def check(self) -> None:
        """Raise ``OSError`` if the descriptor is closed, or leads to something else."""
        if self._look() != self._identity:
            raise OSError(errno.EBADF, "a pipe of this worker has been replaced")

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino


def init_worker(config: WorkerConfig, answer: Callable[[], None]) -> None:
    """Make this process a worker, before any code of the user runs.

    Args:
        answer: called in a thread when the parent asks where this process is.
    """
    hash_seed.restore()
    name_worker()
    # Whatever was forked along is not ours to free, and a collection would copy it all to this
    # process: a collection when consumers close took over 0.5 s.
    gc.freeze()
    gc.enable()  # off in the fork server
    os.environ.update(config.environment)
    sys.path += [path for path in config.paths if path not in sys.path]
    # A group of its own: a kill of the group takes the processes that a pipeline started along.
    os.setpgid(0, 0)
    ignore_polite_signals()
    _allow_children(config.start_method)
    _die_with_parent(answer)
    # A crash in native code leaves its Python traceback on stderr.
    with contextlib.suppress(Exception):
        faulthandler.enable()
    with contextlib.suppress(OSError):
        _dump_at_a_signal()
    with contextlib.suppress(OSError):
        os.nice(config.nice)
    # Forked copies of one server share its seed. random reseeds itself after a fork, numpy's
    # global generator does not.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    leave_terminal()


def _dump_at_a_signal() -> None:
    """Let SIGURG write the stacks of all threads to a file in memory, where there is such a thing.

    Native code that keeps the interpreter lets no thread answer. A process that has no handler
    ignores this signal: it harms nobody, should it come to a wrong one.
    """
    if not hasattr(os, "memfd_create") or signal.getsignal(signal.SIGURG) != signal.SIG_DFL:
        return
    file = os.memfd_create(STACKS_FILE)
    # At its end, whatever a forked child with the same file has written.
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    faulthandler.register(signal.SIGURG, file)


def adopt_orphans() -> None:
    """Make a fork server the parent of what its workers leave behind.

    A program whose parent has ended goes to process 1. In a container that may be Scrapy itself,
    which does not collect children that it knows nothing of: they would stay as zombies. A fork
    server collects all that it has. (Linux only; workers do not inherit it.)
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def ignore_polite_signals() -> None:
    """Let only the parent decide when to stop: Ctrl-C and service managers signal every process.

    A handler that does nothing, not SIG_IGN: an ignored signal stays ignored across exec, and a
    pipeline could no longer terminate its own subprocess.
    """

    def ignore(signum: int, frame: FrameType | None) -> None: ...

    # A fork inherits the fd by which signals wake the parent's event loop.
    signal.set_wakeup_fd(-1)
    for number in _POLITE:
        signal.signal(number, ignore)


def _allow_children(start_method: str | None) -> None:
    # The method by which this worker was started would be the default of its own children.
    multiprocessing.set_start_method(start_method, force=True)
    # A child forked by a pipeline must not be deaf: Pool.terminate() is a SIGTERM. One that comes
    # before the child has its handlers back would be lost, and terminate() would wait for ever.
    os.register_at_fork(
        before=_hold_signals, after_in_parent=_release_signals, after_in_child=_heed_signals
    )
    # Workers are daemons so that the parent's exit ends them, but multiprocessing forbids daemons
    # to have children, and pipelines use Pool and joblib. There is no public switch (3.10-3.14).
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]


_forking = threading.local()  # a signal mask belongs to a thread


def _hold_signals() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _POLITE)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _heed_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_signals()


def _die_with_parent(answer: Callable[[], None]) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(
        target=_watch_parent,
        args=(parent.sentinel, answer),
        name="mpworkers-parent-watch",
        daemon=True,
    ).start()
    if sys.platform == "linux":
        # For native code that never lets a Python thread run.
        creator = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != creator:  # it died before the call, so the signal will not come
            end_group()


def _watch_parent(sentinel: int, answer: Callable[[], None]) -> None:
    """Answer the parent, whose bytes are questions, until it has ended."""
    end, changes = OwnEnd(sentinel), select.poll()
    changes.register(sentinel, select.POLLIN)
    while True:
        [(_, events)] = changes.poll()
        if events & select.POLLHUP:
            end_group()
        try:
            end.check()
            os.read(sentinel, 1 << 16)
        except OSError:
            return  # a pipeline has closed it: no report gets out either, and the worker ends
        answer()


def end_group() -> None:
    """End this worker and all that it has started."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def leave_fork_server() -> None:
    """Forget the fork server that code of the user's has in Scrapy's process.

    It is no child of this one, so multiprocessing would fail as it looks whether it lives (CPython
    3.10 to 3.14); since 3.14 it is what starts processes unless the user says otherwise.
    """
    server: Any = forkserver._forkserver
    preload = server._preload_modules
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
    server.__init__()
    server.set_forkserver_preload(preload)


def run_and_exit(work: Callable[[], int]) -> NoReturn:
    """Run a worker in a process that was just forked, and end it as an interpreter would."""
    ending.leave_the_rest_to_the_parent()
    run_to_the_end(work)


def run_to_the_end(work: Callable[[], int]) -> NoReturn:
    """Run a worker in a process of its own, and end it by the number that *work* returns."""
    code = 1
    try:
        code = work()
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        try:
            ending.finish()
        finally:
            os._exit(code)
