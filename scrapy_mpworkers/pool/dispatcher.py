"""Gives waiting tasks of a crawl to lanes. Everything here runs in the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from operator import attrgetter
from time import monotonic

from scrapy_mpworkers.pool.batching import Pace, ServiceTime, Together, plan, plan_together
from scrapy_mpworkers.pool.interface import Loop, WorkerHandle
from scrapy_mpworkers.pool.task_queue import Entry, TaskQueue
from scrapy_mpworkers.wire.messages import Batch, Definition


class Dispatcher:
    """Leases tasks in batches.

    Args:
        crawl: whose tasks they are.
        ledger: the books, where tasks wait.
        together: how tasks run as one, if they do.
        pace: how full messages are, and how many are under way.
        blobs: definitions by number, as tasks refer to them.
        open_lanes: the lanes that may get work.
        is_shared: whether other crawls have them, too.
        leased: called with each lane that has got some.
        loop: the event loop.
    """

    def __init__(
        self,
        crawl: int,
        task_queue: TaskQueue,
        together: Together | None,
        pace: Pace,
        blobs: Mapping[int, bytes],
        open_handles: Callable[[], Sequence[WorkerHandle]],
        is_shared: Callable[[], bool],
        leased: Callable[[WorkerHandle], None],
        loop: Loop,
    ) -> None:
        self.task_queue = task_queue
        self._crawl = crawl
        self._together = together
        self._most_bytes = pace.bytes if together is None else inf
        self._pace = pace
        self._blobs = blobs
        self._open_handles = open_handles
        self._is_shared = is_shared
        self._leased = leased
        self._loop = loop
        self._service = ServiceTime()
        self._is_due = self._timer_runs = False
        self._rest_is_due = False

    def add(self, entry: Entry) -> None:
        """A new task; it is dispatched soon."""
        self.task_queue.add(entry)
        if not self._is_due:
            self.soon()

    def soon(self) -> None:
        """Dispatch in the next turn of the loop: what is submitted in one turn travels together."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._dispatch)

    def flush(self) -> None:
        """What waits goes soon, though it does not fill a message."""
        self._rest_is_due = True
        self.soon()

    def hurry(self) -> None:
        """From now on nothing waits for others to go with."""
        if self._together is not None:
            self._together = self._together._replace(seconds=0.0)
            self.soon()

    def took(self, seconds: float, tasks: int) -> None:
        """So many tasks have taken so long together."""
        self._service.add(seconds / tasks, tasks)

    def _dispatch(self) -> None:
        self._is_due = False
        self._dispatch_alone()
        handles = self._with_room(self.task_queue.not_alone(self._open_handles()))
        is_short = True
        while is_short:
            is_short = False
            for index, count in self._plan(self.task_queue.open_messages_of(handles)):
                entries = self.task_queue.lease(
                    handles[index], count, monotonic(), self._most_bytes
                )
                is_short = is_short or len(entries) < count
                self._send(handles[index], entries)

    def _with_room(self, handles: Sequence[WorkerHandle]) -> Sequence[WorkerHandle]:
        """*lanes* as they take a message if other crawls have them, too: those with least before
        the others, and none that has more than one alone would put ahead."""
        if not self._is_shared():
            return handles
        own = self.task_queue.open_messages_of(handles)
        room = [
            handle
            for handle, n in zip(handles, own, strict=True)
            if handle.open_messages < self._pace.ahead or handle.open_messages == n
        ]
        return sorted(room, key=attrgetter("open_messages"))

    def _plan(self, loads: Sequence[int]) -> list[tuple[int, int]]:
        waiting = self.task_queue.waiting
        if self._together is None:
            return plan(waiting, loads, self._service.seconds, self._pace)
        is_due = self._rest_is_due or self._is_rest_due(self._together.seconds)
        messages = plan_together(waiting, loads, self._together.size, is_due, self._pace)
        if waiting == sum(count for _, count in messages):
            self._rest_is_due = False
        return messages

    def _is_rest_due(self, seconds: float) -> bool:
        """Whether the first that waits has waited long enough; looks again when it has."""
        since = self.task_queue.waiting_since
        if since is None:
            return False
        left = since + seconds - monotonic()
        if left > 0 and not self._timer_runs:
            self._timer_runs = True
            self._loop.call_later(left, self._look_again)
        return left <= 0

    def _look_again(self) -> None:
        self._timer_runs = False
        self.soon()

    def _dispatch_alone(self) -> None:
        """A task that is likely to kill its worker goes to an idle one, where nothing waits."""
        for handle in self._open_handles() if self.task_queue.alone else ():
            if self.task_queue.alone and not self.task_queue.open_messages(handle):
                self._send(handle, self.task_queue.lease_alone(handle, monotonic()))

    def _send(self, handle: WorkerHandle, entries: Sequence[Entry]) -> None:
        missing = {n for entry in entries for n in entry.needs} - handle.known
        handle.known |= missing
        definitions = [Definition(n, self._blobs[n]) for n in sorted(missing)]
        rows = tuple([entry.row for entry in entries])
        handle.send(Batch(self._crawl, tuple(definitions), rows, self._together is not None))
        self._leased(handle)
