"""Gives waiting tasks of a crawl to workers. All here runs in the event loop's thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from operator import attrgetter
from time import monotonic
from typing import Any

from scrapy_mpworkers.pool.batching import ServiceTime, plan, plan_batched, room
from scrapy_mpworkers.pool.interface import Loop, PoolOptions
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.task_queue import TaskQueue
from scrapy_mpworkers.pool.workers import WorkerGroup, WorkerHandle
from scrapy_mpworkers.wire.messages import Batch, Definition, TaskRow


class Dispatcher:
    """Leases tasks in batches, from one queue, or with keys from one for each slot of the pool.

    Equal keys belong to one slot for good, and each slot is filled by one worker at a time. So they
    meet the same worker, in order, or its replacement.

    Args:
        crawl: whose tasks they are.
        blobs: definitions by number, as tasks refer to them.

    Attributes:
        room: how many tasks may be pending, if nobody has set a bound.
    """

    def __init__(
        self, crawl: int, options: PoolOptions, blobs: Mapping[int, bytes], loop: Loop
    ) -> None:
        # In these cases nobody can tell which task of a message was running.
        as_one = options.batched is not None or options.blind
        self._keyed = options.keyed
        self._queues = [
            TaskQueue(as_one, in_order=options.keyed)
            for _ in range(options.workers if options.keyed else 1)
        ]
        self._crawl = crawl
        self._group: WorkerGroup | None = None
        self._batched = options.batched
        self._most_bytes = options.pace.bytes if options.batched is None else inf
        self._pace = options.pace
        self._blobs = blobs
        self._loop = loop
        self._services = {queue: ServiceTime() for queue in self._queues}
        self._has_limits = False  # whether any task has had a limit of time
        # Whether all workers have as many messages as they may, so that a new task changes nothing.
        # To look for each would take a turn of the loop, and pages come one by one.
        self._is_sated = False
        self.workers_changed(options.workers)
        self._is_due = False
        self._looks_at = inf  # when the first timer runs out
        self._flushed: set[TaskQueue] = set()  # queues whose rest goes, though it fills no message

    def start(self, group: WorkerGroup) -> None:
        self._group = group

    # The queues

    @property
    def pending(self) -> int:
        return sum(queue.pending for queue in self._queues)

    def add(self, task: Task, key: Any) -> None:
        # In a tuple, since the hash of an int is that int: even keys would share one of two slots.
        slot = hash((key,)) % len(self._queues) if self._keyed else 0
        self._queues[slot].add(task)
        if task.limit:
            self._has_limits = True
        if not (self._is_due or self._is_sated):
            self.soon()

    def queue_of(self, handle: WorkerHandle) -> TaskQueue:
        """Return where the tasks of a worker come from."""
        return self._queues[handle.slot if self._keyed else 0]

    def withdraw(self, task: Task) -> bool:
        """Take back a task; return whether no worker had it yet."""
        return any(queue.withdraw(task.id) for queue in self._queues)

    def clear(self) -> list[Task]:
        tasks = [task for queue in self._queues for task in queue.clear()]
        return sorted(tasks, key=attrgetter("id"))

    def park(self, handle: WorkerHandle, task: Task, progress: tuple[Any, ...]) -> None:
        """Keep a task that has given a part. *progress* is what another worker must know of it."""
        task.row = (*task.row[:3], progress, task.row[4])
        self.queue_of(handle).park(handle, task)

    def go_on(self, task: Task, is_over: bool) -> bool:
        """Let a parked task continue at its worker, or end there if it *is_over*; return ``False``
        if it is over and its worker is gone."""
        queue, group = self._queues[0], self._group
        assert group is not None
        handle: Any = queue.parked.take(task)
        task.is_over = is_over
        if handle is None and is_over:
            return False
        queue.go_on(handle, task, monotonic())
        if handle is None:
            self.soon()
        else:
            row = (task.id, task.hop, b"", (b"",) if is_over else (), None)
            self._send_rows(handle, (), (row,), group)
        return True

    def end_parked(self) -> None:
        """Take notice that nobody reads the rest of what tasks give part by part."""
        for queue in self._queues:
            queue.parked.end()

    # When to dispatch

    def soon(self) -> None:
        """Dispatch in the next turn of the loop: what is submitted in one turn travels together."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._dispatch)

    def flush(self) -> None:
        if self._batched is not None:  # else no task waits for others
            self._flushed.update(self._queues)
            self.soon()

    def stop_batching(self) -> None:
        if self._batched is not None:
            self._batched = self._batched._replace(seconds=0.0)
            self.soon()

    def settle(
        self, handle: WorkerHandle, task_ids: Sequence[int], seconds: float
    ) -> tuple[list[Task | None], int]:
        """Settle tasks as :meth:`TaskQueue.settle` does; all of them together took *seconds*."""
        queue = self.queue_of(handle)
        self._services[queue].add(seconds / len(task_ids), len(task_ids))
        self.room = room(self._services.values(), self._size, self._pace, self._batched)
        return queue.settle(handle, task_ids)

    def workers_changed(self, count: int) -> None:
        """Note that there are *count* workers, which changes how many tasks may be pending."""
        self._size, self._is_sated = count, False
        self.room = room(self._services.values(), count, self._pace, self._batched)

    def _is_rest_due(self, queue: TaskQueue, seconds: float) -> bool:
        """Return whether the first task has waited long enough; if not, look again when it has."""
        since = queue.waiting_since
        if since is None:
            return False
        now, due = monotonic(), since + seconds
        if now < due < self._looks_at:
            self._looks_at = due
            self._loop.call_later(due - now, self._look_again)
        return now >= due

    def _look_again(self) -> None:
        self._looks_at = inf
        self.soon()

    # Dispatching

    def _dispatch(self) -> None:
        self._is_due = False
        group = self._group
        assert group is not None
        handles = [one for one in group.handles if one.may_work_for(self._crawl)]
        if not self._keyed:
            are_full = self._dispatch_from(self._queues[0], handles, group)
            # Not where tasks wait for a timer, or for what other crawls leave.
            self._is_sated = are_full and self._batched is None and not group.is_shared
            return
        for slot, queue in enumerate(self._queues):
            # A worker that is being recycled ends what it has before its replacement begins, or a
            # key would be with two workers at once. Until then both may be there: the replacement
            # takes up its work only when it has opened the consumers of all crawls.
            of_slot = [handle for handle in handles if handle.slot == slot][:1]
            if not queue.is_held_beside(of_slot):
                self._dispatch_from(queue, of_slot, group)

    def _dispatch_from(
        self, queue: TaskQueue, handles: Sequence[WorkerHandle], group: WorkerGroup
    ) -> bool:
        """Return whether one more task could go to none of the workers."""
        if queue.quarantined:
            self._dispatch_quarantined(queue, handles, group)
        is_short = True
        while is_short:
            is_short = False
            waiting, loads = queue.look(handles)
            if group.is_shared:
                loads = self._with_room(loads)
            chosen = list(loads)
            for index, count in self._plan(queue, waiting, list(loads.values())):
                tasks = queue.lease(chosen[index], count, monotonic(), self._most_bytes)
                is_short = is_short or len(tasks) < count
                self._send(chosen[index], tasks, group)
                loads[chosen[index]] += 1
        return min(loads.values(), default=self._pace.ahead) >= self._pace.ahead

    def _with_room(self, loads: dict[WorkerHandle, int]) -> dict[WorkerHandle, int]:
        """Return the workers that may take a message, those with the fewest first. A worker that
        has enough messages in all may not, unless they are all of this crawl."""
        room = [
            handle
            for handle, own in loads.items()
            if handle.open_messages < self._pace.ahead or handle.open_messages == own
        ]
        return {handle: loads[handle] for handle in sorted(room, key=attrgetter("open_messages"))}

    def _plan(self, queue: TaskQueue, waiting: int, loads: Sequence[int]) -> list[tuple[int, int]]:
        if self._batched is None:
            return plan(waiting, loads, self._services[queue].seconds, self._pace)
        is_due = queue in self._flushed or self._is_rest_due(queue, self._batched.seconds)
        messages = plan_batched(waiting, loads, self._batched.size, is_due, self._pace)
        if waiting == sum(count for _, count in messages):
            self._flushed.discard(queue)
        return messages

    def _dispatch_quarantined(
        self, queue: TaskQueue, handles: Sequence[WorkerHandle], group: WorkerGroup
    ) -> None:
        """Give tasks that may kill their worker to workers that have no other task of the crawl."""
        for handle in handles:
            if queue.quarantined and not queue.open_messages(handle):
                self._send(handle, queue.lease_quarantined(handle, monotonic()), group)

    def _send(self, handle: WorkerHandle, tasks: Sequence[Task], group: WorkerGroup) -> None:
        missing = {n for task in tasks for n in task.needs} - handle.known
        definitions: tuple[Definition, ...] = ()
        if missing:
            handle.known.update(missing)
            definitions = tuple(Definition(n, self._blobs[n]) for n in sorted(missing))
        self._send_rows(handle, definitions, tuple([task.row for task in tasks]), group)

    def _send_rows(
        self,
        handle: WorkerHandle,
        definitions: tuple[Definition, ...],
        rows: tuple[TaskRow, ...],
        group: WorkerGroup,
    ) -> None:
        handle.send(Batch(self._crawl, definitions, rows, self._batched is not None))
        if self._has_limits or not group.is_watching:
            group.watch(self._crawl, handle)
