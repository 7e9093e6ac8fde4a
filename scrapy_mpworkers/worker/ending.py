"""Ends a worker as an interpreter ends: nothing that a pipeline has buffered is lost.

multiprocessing leaves a forked process by ``os._exit``: no object is finalized, no file is flushed,
and before CPython 3.13 no exit function runs. An inline crawl ends with its interpreter, which does
all of that, so pipelines rely on it. What was there before the fork belongs to the process that
has forked: it is ended there, once.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import sys
import traceback
import weakref
from collections.abc import Iterable
from multiprocessing import util
from types import FunctionType
from typing import Any

#: Kept until the process is gone: an object that dies here would be finalized a second time.
_finalized: list[Any] = []


def leave_the_rest_to_the_parent() -> None:
    """Forget, in a process that was just forked, what the other one does when it ends."""
    atexit._clear()
    # The function that runs these is among those that were forgotten; a new finalizer registers it.
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    atexit.register(util._exit_function)  # type: ignore[attr-defined]


def leave_handlers_to_the_parent() -> None:
    """Forget the log handlers of Scrapy's process, whose buffers may hold records of its own."""
    logging.root.handlers.clear()
    logging._handlerList.clear()  # type: ignore[attr-defined]


def finish() -> None:
    """Do what an interpreter does at its end. Nothing that fails keeps the rest from being done."""
    for step in (gc.collect, atexit._run_exitfuncs, gc.collect, logging.shutdown, _finalize_all):
        try:
            step()
        except BaseException:  # of the user's code; SystemExit would change the exit code
            _print_traceback()
    flush([sys.stdout, sys.stderr])


def finalizer_of(cls: type) -> Any:
    """Return the ``__del__`` of a class, or ``None``."""
    found = (vars(base).get("__del__") for base in cls.__mro__)
    return next((one for one in found if one is not None), None)


def _finalize_all() -> None:
    """Finalize what is still alive, such as objects of modules: those with a ``__del__`` first, as
    they may write into files.

    What was there before the fork is frozen (``init_worker``), and so not among these objects.
    """
    if gc.get_freeze_count() == 0:
        return  # the user's code has unfrozen it: a file of the parent's would be written twice
    born = gc.get_objects()
    ranks = {cls: _rank(cls) for cls in {type(one) for one in born}}
    _finalized.extend(one for one in born if ranks[type(one)] and not gc.is_finalized(one))
    del born
    _finalized.sort(key=lambda one: ranks[type(one)])
    for one in _finalized:
        try:
            one.close() if issubclass(type(one), io.IOBase) else finalizer_of(type(one))(one)
        except BaseException:
            _print_traceback()


def _rank(cls: type) -> int:
    """Return when an object of that class is finalized, from 1 on; 0 if it need not be.

    Text is buffered above bytes, and what compresses above a file.
    """
    finalizer = finalizer_of(cls)
    if finalizer is None or issubclass(cls, io.RawIOBase):
        return 0
    if not issubclass(cls, io.IOBase):
        return 1 if isinstance(finalizer, FunctionType) else 0
    if issubclass(cls, io.TextIOBase):
        return 2
    return 4 if issubclass(cls, (io.BufferedWriter, io.BufferedRandom)) else 3


def flush(streams: Iterable[Any]) -> None:
    """Write what streams or log handlers have buffered."""
    for stream in streams:
        with contextlib.suppress(Exception):
            stream.flush()


def _print_traceback() -> None:
    with contextlib.suppress(BaseException):  # stderr may be closed, or not be a file at all
        traceback.print_exc()
