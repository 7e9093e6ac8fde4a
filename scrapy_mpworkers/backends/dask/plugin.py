"""WORKER SIDE: what runs in a worker process of a Dask cluster, on that worker's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import io
import os
import signal
import sys
import zipfile
from typing import Any

import psutil
from distributed import WorkerPlugin

from scrapy_mpworkers.backends.dask.worker_thread import WorkerThread
from scrapy_mpworkers.wire.messages import Answer, Prelude

#: Seconds that a worker which is told to close waits for the consumers in it.
_CLOSE_SECONDS = 20.0

_threads: dict[str, WorkerThread] = {}  # of this process, by the key of the task that made them


class MPWorkersPlugin(WorkerPlugin):
    """Ends the threads of a worker: all with the worker, and each when Dask forgets the result of
    the task that made it, since the crawl has released its future, or is gone."""

    name = "scrapy-mpworkers"
    idempotent = True  # each crawl registers it; a second one would end the threads of the first

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """End the thread of a task that is forgotten. Dask calls this when a task changes state."""
        if finish in ("released", "forgotten") and key in _threads:
            _threads.pop(key).end()

    async def teardown(self, worker: Any) -> None:
        """End all threads, as the worker closes."""
        ending = [_threads.pop(key) for key in list(_threads)]
        for one in ending:
            one.end()
        joins = [asyncio.to_thread(one.thread.join, _CLOSE_SECONDS) for one in ending]
        await asyncio.gather(*joins)


class Upload(WorkerPlugin):
    """Brings a package or module to a worker, which imports it before anything installed.

    Args:
        name: of the package or module.
        archive: a zip of its files.
    """

    idempotent = True

    def __init__(self, name: str, archive: bytes) -> None:
        self.name = f"scrapy-mpworkers-upload-{hashlib.sha256(archive).hexdigest()}"
        self._module = name
        self._archive = archive

    def setup(self, worker: Any) -> None:
        """Unpack it, in each worker, also in those that come later."""
        folder = os.path.join(worker.local_directory, self.name)
        with zipfile.ZipFile(io.BytesIO(self._archive)) as archive:
            archive.extractall(folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        # Forget modules that an earlier crawl has brought, perhaps with other code.
        for name in list(sys.modules):
            if name.partition(".")[0] == self._module:
                del sys.modules[name]


async def open_thread(thread: str, command: bytes, prelude: Prelude, crawl: str) -> Answer | None:
    """Make a worker thread, named as this very task is, and let it open consumers.

    Args:
        command: encoded; says which consumers.
        prelude: runs before them, once in this process for each *crawl*.
    """
    _threads[thread] = WorkerThread(prelude, crawl)
    return await run_command(thread, 0, command, {})


async def run_command(
    thread: str, number: int, command: bytes, limits: dict[int, float]
) -> Answer | None:
    """Have a command run by a worker thread; ``None`` if there is no such thread any more."""
    if thread in _threads:
        _threads[thread].put(number, command, limits)
    return await listen(thread, number)


async def listen(thread: str, number: int) -> Answer | None:
    """Return more of what has come of a command; ``None`` if that is not known any more."""
    found = _threads.get(thread)
    if found is None or number not in found.pending:
        return None
    return await found.answer(number)


def stack_of(thread: str) -> str:
    """Return where a worker thread is; that it was called tells that the process hears."""
    return _threads[thread].stack() if thread in _threads else ""


def kill_worker() -> None:
    """Kill this process, and before it those that pipelines have started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
