"""Runs asyncio in a worker, and notices when an await can never end.

A worker has no reactor. A Deferred that waits for one would never fire, and the worker would sit
there for ever. When the loop is about to sleep without any timer, file or thread that could wake
it, while a pipeline's coroutine waits, that wait is hopeless. In doubt it is not: a thread that
nobody knows may be about to call ``call_soon_threadsafe``. A thread of a library in Rust or C++ may
complete the await, or have nothing to do with it: then the wait is hopeless only after a long time,
unless it is known to be for a Deferred.
"""

from __future__ import annotations

import asyncio
import math
import os
import selectors
import threading
from collections.abc import Awaitable, Iterable
from time import monotonic
from typing import Any, TypeVar

from scrapy_mpworkers.errors import StuckError

_T = TypeVar("_T")

#: Names of threads that wake the loop only for a call that :meth:`WatchfulLoop.run_in_executor` has
#: counted (those of asyncio's default executor, which stay for later calls), or never.
_KNOWN_THREADS = ("asyncio_", "mpworkers-")

#: Seconds that an await may take which only a thread that Python does not know could end.
_IN_DOUBT = 300.0
#: Seconds after which to look again whether there is such a thread.
_LOOK_EVERY = 1.0

_STUCK = (
    "it awaits something that nothing in a worker can bring about. There is no Twisted reactor in "
    "a worker: Deferreds of the reactor (downloads, deferLater, deferToThread) never fire. Use "
    "asyncio there, or keep this pipeline in ITEM_PIPELINES, this callback out of "
    "MPWORKERS_CALLBACKS"
)


class WatchfulLoop(asyncio.SelectorEventLoop):
    """A selector loop with :meth:`guard`.

    Args:
        bystanders: how the names begin of further threads that never wake the loop, as it is one
            of several things in its process; nor do those that Python does not know and that are
            there already.
    """

    def __init__(self, bystanders: Iterable[str] = ()) -> None:
        names = tuple(bystanders)
        self._watchful = _WatchfulSelector(
            (*_KNOWN_THREADS, *names), _native_threads() if names else frozenset()
        )
        super().__init__(self._watchful)
        # In debug mode (python -X dev) asyncio complains of callbacks that take 0.1 s, since others
        # wait meanwhile. Here no others wait, and it would complain of each item.
        self.slow_callback_duration = math.inf

    def has_company(self) -> bool:
        """Return whether anything but the running task may be due, of pipelines' tasks or timers.

        A turn of the loop for nothing takes as long as all the rest of a small item. asyncio does
        not tell in public (``_ready`` and ``_scheduled`` are those of CPython 3.10 to 3.14).
        """
        return bool(self._ready or self._scheduled or len(self._watchful.get_map()) > 1)  # type: ignore[attr-defined]

    def run_in_executor(  # type: ignore[override]  # typing.TypeVarTuple came with Python 3.11
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Call *func* in another thread as asyncio does, and count the calls under way."""
        future = super().run_in_executor(executor, func, *args)
        self._watchful.calls.add(future)
        future.add_done_callback(self._watchful.calls.discard)
        return future

    async def guard(self, work: Awaitable[_T]) -> _T:
        """Await *work* from the loop's main task.

        Raises:
            StuckError: *work* awaits something that can never happen.
        """
        task = asyncio.current_task()
        assert task is not None
        self._watchful.watch(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._watchful.found_stuck:
                raise
            if hasattr(task, "uncancel"):  # 3.11+
                task.uncancel()
            raise StuckError(_STUCK) from None
        finally:
            self._watchful.watch(None)


async def cancel_the_rest() -> None:
    """End the tasks that pipelines have left, as ``asyncio.run`` does."""
    await cancel(asyncio.all_tasks() - {asyncio.current_task()})


async def cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _WatchfulSelector(selectors.DefaultSelector):
    def __init__(self, known_threads: tuple[str, ...], strangers: frozenset[int]) -> None:
        super().__init__()
        self._known_threads = known_threads
        self._strangers = strangers
        self._doubt_until: float | None = None
        self.found_stuck = False
        self.calls: set[asyncio.Future[Any]] = set()  #: of other threads, under way
        self._task: asyncio.Task[Any] | None = None

    def watch(self, task: asyncio.Task[Any] | None) -> None:
        self._task, self.found_stuck, self._doubt_until = task, False, None

    def select(self, timeout: float | None = None) -> list[Any]:
        if self._task is None or not self._knows_nobody(timeout):
            self._doubt_until = None
        elif (left := self._seconds_in_doubt()) > 0:
            timeout = min(left, _LOOK_EVERY)
        else:
            self.found_stuck = True
            self._task.cancel()
            timeout = 0
        return super().select(timeout)

    def _seconds_in_doubt(self) -> float:
        if _is_of_deferred(self._task) or not _native_threads() - self._strangers:
            return 0.0
        if self._doubt_until is None:
            self._doubt_until = monotonic() + _IN_DOUBT
        return self._doubt_until - monotonic()

    def _knows_nobody(self, timeout: float | None) -> bool:
        # No timeout: asyncio has neither a timer nor a callback left. One registration is the
        # loop's own self-pipe, which only another thread would write to.
        return (
            timeout is None
            and not self.found_stuck
            and len(self.get_map()) <= 1
            and not self.calls
            and all(
                thread.name.startswith(self._known_threads)
                for thread in threading.enumerate()
                if thread is not threading.current_thread()
            )
        )


def _native_threads() -> frozenset[int]:
    """Return the ids of this process's threads that :mod:`threading` does not know: those of
    libraries in Rust or C++, and those that ``_thread`` has begun. (Linux.)"""
    try:
        running = frozenset(map(int, os.listdir("/proc/self/task")))
    except OSError:
        return frozenset()
    # Asked last: a thread that begins meanwhile is known, and not taken for a native one.
    return running - {thread.native_id for thread in threading.enumerate()}


def _is_of_deferred(task: asyncio.Task[Any] | None) -> bool:
    """Return whether *task* awaits a Deferred: Twisted is told when such a future ends."""
    awaited: Any = task
    while isinstance(awaited, asyncio.Task):
        awaited = getattr(awaited, "_fut_waiter", None)
    callbacks = getattr(awaited, "_callbacks", None) or ()
    return "twisted.internet.defer" in [getattr(call, "__module__", "") for call, _ in callbacks]
