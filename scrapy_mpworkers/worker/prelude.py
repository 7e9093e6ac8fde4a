"""Runs in a worker what Scrapy's process ran before it imported any pipeline.

That is the settings module of the project, and the callable that ``MPWORKERS_INITIALIZER`` names.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os

from scrapy_mpworkers.errors import WorkerStartError
from scrapy_mpworkers.wire.messages import Prelude
from scrapy_mpworkers.worker import record_collector

logger = logging.getLogger(__name__)

#: A variable that is set in every worker before code of the user runs there, for lines that only
#: Scrapy's process may run.
IN_WORKER = "MPWORKERS_IN_WORKER"


_has_begun = False  # in this process, or in the server that it was forked from
_done: set[str] = set()  # crawls whose prelude has run in a process that is not ours


def begin(settings_module: str | None) -> None:
    """Import the settings module in a process of ours, unless the server that forked it has.

    Raises:
        WorkerStartError: the module raised.
    """
    global _has_begun
    if _has_begun:
        return
    record_collector.begin()
    try:
        _import_settings(settings_module)
    finally:
        record_collector.begin_again()
    _has_begun = True


def attempt(prelude: Prelude) -> WorkerStartError | None:
    """Run the prelude of a worker, and return the error that says why it failed."""
    try:
        begin(prelude.settings_module)
        initialize(prelude.initializer)
    except WorkerStartError as error:
        return error
    return None


def attempt_once(prelude: Prelude, crawl: str) -> WorkerStartError | None:
    """Run the prelude of a crawl, once in a process that may have several workers of it.

    The logging is left alone, as the process is somebody else's.
    """
    if crawl in _done:
        return None
    try:
        _import_settings(prelude.settings_module)
        initialize(prelude.initializer)
    except WorkerStartError as error:
        return error
    _done.add(crawl)
    return None


def _import_settings(module: str | None) -> None:
    os.environ[IN_WORKER] = "1"
    if module is None:
        return
    try:
        importlib.import_module(module)
    except BaseException as error:
        if _is_missing(module, error):
            logger.warning("The settings module %s is not there in a worker, which goes on", module)
            return
        raise WorkerStartError(
            f"the settings module {module}, which each worker imports before the pipelines, raised "
            f"{_in_words(error)}. Put lines that only Scrapy's process may run under: "
            f'if "{IN_WORKER}" not in os.environ:'
        ) from error


def initialize(path: str | None) -> None:
    """Call what ``MPWORKERS_INITIALIZER`` names.

    Raises:
        WorkerStartError: the callable cannot be imported, or raised, or is a coroutine function.
    """
    if path is None:
        return
    module, _, name = path.rpartition(".")
    try:
        returned = getattr(importlib.import_module(module), name)()
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            raise TypeError("an initializer is a plain function, which may call asyncio.run()")
    except BaseException as error:
        raise WorkerStartError(
            f"MPWORKERS_INITIALIZER = {path!r} raised {_in_words(error)}"
        ) from error


def _is_missing(module: str, error: BaseException) -> bool:
    """Return whether the module itself is not there, as on a cluster that lacks the project."""
    name = getattr(error, "name", None) or ""
    return isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{name}.")


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
