"""Finds out in a fork server what an import has left that workers cannot share."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from scrapy_mpworkers.errors import WorkerStartError
from scrapy_mpworkers.worker.ending import finalizer_of

#: The standard library, and where packages are installed.
_STDLIB = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def leaves_something(importing: Callable[[], None], names: tuple[str | None, ...]) -> bool:
    """Import, and return whether that left something of which each worker needs its own.

    That is a thread, a file or a socket; and an exit function or an object with ``__del__`` that
    is the user's: each worker runs those when it ends, and what they write or delete must be of
    that worker alone. A library's belong to the server.

    Args:
        names: of the modules; they are the user's wherever they were installed.
    """
    tops = {name.partition(".")[0] for name in names if name}
    threads, fds = threading.active_count(), _open_fds()
    gc.freeze()  # so that only new objects are looked at
    try:
        with _registrants() as registrants:
            importing()
    except WorkerStartError:
        return True  # a settings module that fails; each worker reports it properly
    if threading.active_count() > threads or _open_fds() - fds:
        return True
    return any(_is_users(name, tops) for name in {*registrants, *_finalizing_modules()})


@contextlib.contextmanager
def _registrants() -> Iterator[list[str]]:
    """Note which modules register exit functions; ``atexit`` itself lists none."""
    register: Any = atexit.register
    names: list[str] = []

    def noting(*args: Any, **kwargs: Any) -> Any:
        names.append(sys._getframe(1).f_globals.get("__name__", ""))
        return register(*args, **kwargs)

    atexit.register = noting
    try:
        yield names
    finally:
        atexit.register = register


def _finalizing_modules() -> Iterator[str]:
    for cls in {type(one) for one in gc.get_objects()}:
        if isinstance(finalizer_of(cls), FunctionType):
            yield cls.__module__


def _is_users(module: str, tops: set[str]) -> bool:
    if module.partition(".")[0] in tops:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return (
        file is not None
        and not file.startswith(_STDLIB)
        and not any(folder in file for folder in _INSTALLED)
    )


def _open_fds() -> set[str]:
    try:
        fds = os.listdir("/dev/fd")
    except OSError:
        return set()
    # The one that listdir itself uses is gone by now.
    return {fd for fd in fds if os.path.exists(f"/dev/fd/{fd}")}
