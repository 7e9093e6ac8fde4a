"""When a worker has served its time: after so many items, or above so much memory."""

from __future__ import annotations

import logging
from time import monotonic

from scrapy_mpworkers.pool.memory import resident_bytes
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)

#: Seconds between two looks at the memory of a worker; one look costs the loop about 30 µs.
_WEIGH_EVERY = 1.0


class Recycling:
    """Judges lanes when they report, and never otherwise: an idle pool uses no CPU.

    Args:
        max_items: that a worker settles; 0 is no limit.
        memory_limit: resident bytes of a worker; 0 is no limit.
    """

    def __init__(self, max_items: int, memory_limit: int) -> None:
        self._max_items = max_items
        self._memory_limit = memory_limit

    def weigh_new(self, handle: ProcessHandle) -> None:
        """A worker is ready. One that is too heavy already would be recycled for ever."""
        if not self._memory_limit or handle.pid is None:
            return
        size = resident_bytes(handle.pid)
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
        """Why to recycle *lane* now: ``items`` or ``memory``; ``None`` if it may go on."""
        if self._max_items and handle.settled >= self._max_items:
            return "items"
        return "memory" if self._memory_limit and self._is_too_heavy(handle) else None

    def _is_too_heavy(self, handle: ProcessHandle) -> bool:
        now = monotonic()
        if now - handle.weighed_at < _WEIGH_EVERY or handle.pid is None:
            return False
        handle.weighed_at = now
        return resident_bytes(handle.pid) >= self._memory_limit
