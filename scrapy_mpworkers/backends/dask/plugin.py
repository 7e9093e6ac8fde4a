"""WORKER SIDE: what runs in a worker process of a Dask cluster, on that worker's event loop.

A seat lives as long as the result of the task that made it: when the crawl lets go of that future,
or is gone with its client, the worker forgets the result, and the seat closes its consumers.
"""

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

from scrapy_mpworkers.backends.dask.command_queue import PendingCommand
from scrapy_mpworkers.backends.dask.worker_thread import WorkerThread
from scrapy_mpworkers.wire.messages import Answer, Prelude

#: Seconds that a worker which is told to close waits for the consumers in it.
_CLOSE_SECONDS = 20.0

_seats: dict[str, WorkerThread] = {}  # of this process, by the key of the task that made them


class MPWorkersPlugin(WorkerPlugin):
    """Ends the seats of a worker: when nobody holds their first result any more, and with it."""

    name = "scrapy-mpworkers"
    idempotent = True  # each crawl registers it; a second one would end the seats of the first

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Called by the worker for each task that gets into another state."""
        if finish in ("released", "forgotten") and key in _seats:
            _seats.pop(key).end()

    async def teardown(self, worker: Any) -> None:
        """The worker closes."""
        ending = [_seats.pop(key) for key in list(_seats)]
        for seat in ending:
            seat.end()
        joins = [asyncio.to_thread(seat.thread.join, _CLOSE_SECONDS) for seat in ending]
        await asyncio.gather(*joins)


class Upload(WorkerPlugin):
    """Brings a package or module, which is imported from there before anything installed.

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
        """Called by each worker, also by those that come later."""
        folder = os.path.join(worker.local_directory, self.name)
        with zipfile.ZipFile(io.BytesIO(self._archive)) as archive:
            archive.extractall(folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        # What an earlier crawl has brought, perhaps with other code.
        for name in list(sys.modules):
            if name.partition(".")[0] == self._module:
                del sys.modules[name]


async def sit(seat: str, order: bytes, prelude: Prelude, crawl: str) -> Answer | None:
    """Make a seat, whose name is the key of this very task, and open consumers there.

    Args:
        prelude: what runs before them, once in this process for each *crawl*.
    """
    made = _seats[seat] = WorkerThread(prelude, crawl)
    made.put(PendingCommand(0, order, {}))
    return await made.answer(0)


async def work(seat: str, number: int, order: bytes, limits: dict[int, float]) -> Answer | None:
    """Have an order done at a seat; ``None`` if there is no such seat any more."""
    found = _seats.get(seat)
    if found is None:
        return None
    found.put(PendingCommand(number, order, limits))
    return await found.answer(number)


async def listen(seat: str, number: int) -> Answer | None:
    """More of what has come of an order; ``None`` if that is not known any more."""
    found = _seats.get(seat)
    if found is None or number not in found.deliveries:
        return None
    return await found.answer(number)


def hear() -> None:
    """Nothing: that it was called is the answer."""


def die() -> None:
    """Kill this process, and before it those that pipelines have started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
