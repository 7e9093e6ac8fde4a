"""Says when a worker has served its time: after so many items, or above so much memory."""

from __future__ import annotations

import logging
from time import monotonic
from weakref import WeakKeyDictionary

from scrapy_mpworkers.pool.interface import PoolOptions
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)

#: Seconds between two looks at the memory of a worker; one look costs the loop about 30 µs.
_WEIGH_EVERY = 1.0


class Recycling:
    """Judges workers when they report, and never otherwise: an idle pool uses no CPU."""

    def __init__(self, options: PoolOptions) -> None:
        self._max_items = options.max_items
        self._memory_limit = options.memory_limit
        self._weighed_at: WeakKeyDictionary[ProcessHandle, float] = WeakKeyDictionary()

    def weigh_new(self, handle: ProcessHandle) -> None:
        """Drop the memory limit if a new worker is above it before its first item: each of its
        replacements would be, too."""
        if not self._memory_limit:
            return
        size = resident_bytes(handle.process.pid)
        if size >= self._memory_limit:
            logger.warning(
                "A worker holds %d MiB before its first item, more than "
                "MPWORKERS_WORKER_MEMORY_LIMIT_MB = %d allows: no worker is recycled for its "
                "memory. Set the limit well above what the pipelines load when they open.",
                size >> 20,
                self._memory_limit >> 20,
            )
            self._memory_limit = 0

    def reason(self, handle: ProcessHandle) -> str | None:
        """Return why to recycle a worker now: ``items`` or ``memory``; ``None`` if it may go on."""
        if self._max_items and handle.settled >= self._max_items:
            return "items"
        now = monotonic()
        if not self._memory_limit or now - self._weighed_at.get(handle, 0.0) < _WEIGH_EVERY:
            return None
        self._weighed_at[handle] = now
        return "memory" if resident_bytes(handle.process.pid) >= self._memory_limit else None


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 if it is gone."""
    import psutil  # late: few crawls limit memory

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):  # this process may have no file descriptor left
        return 0
