"""What runs in the fork server: import once what all workers need, then fork on request."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from scrapy_mpworkers.errors import WorkerStartError
from scrapy_mpworkers.worker import hash_seed, prelude
from scrapy_mpworkers.worker.forking import Forking
from scrapy_mpworkers.worker.process import adopt_orphans


def main(
    requests_fd: int,
    parent: int,
    own: Sequence[str],
    modules: Sequence[str] = (),
    settings_module: str | None = None,
) -> None:
    """Import modules and serve until the parent, a pid, has closed its end of ``requests_fd``.

    A module that left threads, sockets or files open would share them among all workers. It
    cannot be unimported, so the server begins anew without it, in the same process; without any
    module of the user's if that was the settings module, which comes before them.

    Args:
        own: modules of this package.
        modules: of the user.
        settings_module: of the user, to be imported first of all.
    """
    hash_seed.restore()
    gc.disable()  # imports leave hardly any garbage; a worker turns it on again
    _ignore_polite_signals()
    if modules and _leaves_something_open(lambda: prelude.begin(settings_module)):
        _begin_anew(program(requests_fd, parent, {}, (), own))
    shared = [name for name in (*own, *modules) if _leaves_something_open(partial(_import, name))]
    if shared:
        rest = [name for name in modules if name not in shared]
        _begin_anew(program(requests_fd, parent, {}, (), own, rest, settings_module))
    _ignore_polite_signals()  # a module may have had handlers of its own for Scrapy's process
    os.set_inheritable(requests_fd, False)
    # What is imported stays. The collectors of the workers leave it alone from now on, or each
    # would write to, and so copy, the memory that all share (as gc.freeze's documentation says).
    gc.freeze()
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
    """The code, for ``python -c``, that runs :func:`main` with the present ``sys.path`` + *paths*.

    Path and environment travel in the code. The parent's own environment is not ours to change,
    and before 3.12 CPython's fork server does not get the parent's path.
    """
    arguments = requests_fd, parent, tuple(own), tuple(modules), settings_module
    return (
        f"import os, sys; sys.path[:] = {[*sys.path, *paths]!r}; "
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


def _leaves_something_open(importing: Callable[[], None]) -> bool:
    threads, fds = threading.active_count(), _open_fds()
    try:
        importing()
    except WorkerStartError:
        return True  # a settings module that fails; each worker reports it properly
    return threading.active_count() > threads or bool(_open_fds() - fds)


def _open_fds() -> set[str]:
    try:
        fds = os.listdir("/dev/fd")
    except OSError:
        return set()
    # The one that listdir itself uses is gone by now.
    return {fd for fd in fds if os.path.exists(f"/dev/fd/{fd}")}
