"""Which ledger of a crawl has which task: one, or with keys one for each place of the pool.

Equal keys belong to one place for good, and each place is manned by one worker at a time. So they
meet the same worker, in order; when it dies, its replacement takes them over, what it had begun
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from scrapy_mpworkers.pool.dispatcher import Dispatcher
from scrapy_mpworkers.pool.interface import Loop, PoolOptions, WorkerHandle
from scrapy_mpworkers.pool.task_queue import Entry, TaskQueue


class Books:
    """The ledgers of a crawl and what dispatches from them.

    Args:
        options: of the pool.
        crawl: its number.
        blobs: definitions by number, as tasks refer to them.
        open_lanes: the lanes that may get work.
        is_shared: whether other crawls have them, too.
        leased: called with each lane that has got some.
        loop: the event loop.
    """

    def __init__(
        self,
        options: PoolOptions,
        crawl: int,
        blobs: Mapping[int, bytes],
        open_handles: Callable[[], list[WorkerHandle]],
        is_shared: Callable[[], bool],
        leased: Callable[[WorkerHandle], None],
        loop: Loop,
    ) -> None:
        self._keyed = options.keyed
        self._open_handles = open_handles
        self._dispatchers: list[Dispatcher] = []
        for place in range(options.workers if options.keyed else 1):
            # Nobody could tell which task of a message was running: it may be any of them.
            as_one = options.together is not None or options.blind
            task_queue = TaskQueue(as_one, in_order=options.keyed)
            handles = partial(self._handle_of, place) if options.keyed else open_handles
            self._dispatchers.append(
                Dispatcher(
                    *(crawl, task_queue, options.together, options.pace, blobs, handles, is_shared),
                    *(leased, loop),
                )
            )

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        return sum(dispatcher.task_queue.pending for dispatcher in self._dispatchers)

    def add(self, entry: Entry, key: Any) -> None:
        """A new task; it is dispatched soon."""
        # In a tuple: the hash of an int is itself, and even ones would meet at one of two places.
        place = hash((key,)) % len(self._dispatchers) if self._keyed else 0
        self._dispatchers[place].add(entry)

    def of(self, handle: WorkerHandle) -> Dispatcher:
        """Where the tasks of *lane* come from."""
        return self._dispatchers[handle.place if self._keyed else 0]

    def soon(self) -> None:
        """Some lane may have room."""
        for dispatcher in self._dispatchers:
            dispatcher.soon()

    def flush(self) -> None:
        """What waits goes soon, though it does not fill a message."""
        for dispatcher in self._dispatchers:
            dispatcher.flush()

    def hurry(self) -> None:
        """From now on nothing waits for others to go with."""
        for dispatcher in self._dispatchers:
            dispatcher.hurry()

    def leases(self, handle: WorkerHandle) -> Iterator[Entry]:
        """The unsettled entries that *lane* holds, oldest first."""
        return self.of(handle).task_queue.leases(handle)

    def entry(self, handle: WorkerHandle, task_id: int) -> Entry | None:
        """The unsettled entry of a task that *lane* holds."""
        return self.of(handle).task_queue.entry(handle, task_id)

    def withdraw(self, task_id: int) -> Entry | None:
        """Take back a task that no lane has yet; ``None`` if there is none."""
        found = (dispatcher.task_queue.withdraw(task_id) for dispatcher in self._dispatchers)
        return next(filter(None, found), None)

    def clear(self) -> list[Entry]:
        """Every task is given up; its lane may still work on it. Returns them, oldest first."""
        entries = [entry for one in self._dispatchers for entry in one.task_queue.clear()]
        return sorted(entries, key=lambda entry: entry.id)

    def _handle_of(self, place: int) -> Sequence[WorkerHandle]:
        handles = [handle for handle in self._open_handles() if handle.place == place]
        # A worker that is being recycled ends what it has before its relief begins, or a key would
        # be with two workers at once.
        return [] if self._dispatchers[place].task_queue.is_held_beside(handles) else handles
