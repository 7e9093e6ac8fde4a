"""A worker thread in a worker process of a Dask cluster, as the crawl sees it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.backends.dask.client import Session
from scrapy_mpworkers.backends.dask.connection import Connection
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.timeouts import end_overdue
from scrapy_mpworkers.pool.worker_state import KilledFor, Phase
from scrapy_mpworkers.pool.workers import WorkerHandle
from scrapy_mpworkers.wire.frames import decode_report, encode_command
from scrapy_mpworkers.wire.messages import (
    Answer,
    Batch,
    Boot,
    Command,
    Ending,
    OpenCrawl,
    PoisonPill,
    Report,
)

logger = logging.getLogger(__name__)

#: Seconds that the network and a busy machine may add to the time of a task.
_MARGIN = 2.0


class HandleState(Enum):
    """The steps of a worker, from the first command to its end."""

    OPENING = 0
    OPEN = 1  #: its consumers are open
    CLOSING = 2  #: the pill is on its way, or its process is being killed
    GONE = 3


class HandleGroup(Protocol):
    """The group of a worker: what all of them use, and what is told of one."""

    connection: Connection
    loop: Loop
    names: Mapping[int, str]  #: of the pipelines of a hop, by its number
    runs_as_one: bool  #: whether the tasks of a message do

    @property
    def executor(self) -> PoolExecutor: ...
    def answered(
        self, handle: DaskHandle, number: int, answer: Answer | BaseException | None
    ) -> None:
        """Hear what has come of a command; ``None``: its thread has ended; or there is an error."""

    def killed(self, handle: DaskHandle) -> None:
        """Hear that a worker has been killed, as a task takes too long."""


class DaskHandle(WorkerHandle):
    """A worker of a group, whose methods are called in the crawl's thread."""

    def __init__(
        self, name: str, slot: int, generation: int, address: str, group: HandleGroup
    ) -> None:
        super().__init__(name, slot, generation)
        self.address = address  #: of the worker process
        #: The name of its worker thread, and of the Dask task that makes the thread.
        self.thread = f"open-{name}-{uuid.uuid4().hex}"
        self.state = HandleState.OPENING
        self.has_opened = False  #: whether its consumers have been
        self.killed_for = KilledFor.NONE
        self._level = name
        self._group = group
        self._numbers = 0
        self._open = 0
        self._head_since = 0.0  # when its oldest message got there, monotonic()
        self._is_watched = False

    @property
    def title(self) -> str:
        return f"{self.name} ({self.address})"

    @property
    def open_messages(self) -> int:
        return self._open

    @property
    def is_closing(self) -> bool:
        """Return whether it gets nothing any more."""
        return self.state in (HandleState.CLOSING, HandleState.GONE)

    @property
    def is_killed(self) -> bool:
        """Return whether the pool itself has killed this worker."""
        return self.killed_for is not KilledFor.NONE

    @property
    def phase(self) -> Phase:
        if self.is_killed or self.state is HandleState.GONE:
            return Phase.DEAD
        if self.state is not HandleState.OPEN:
            return Phase.OPENING if self.state is HandleState.OPENING else Phase.CLOSING
        return Phase.BUSY if self._open else Phase.IDLE

    def running(self) -> tuple[int | None, float]:
        oldest = next(self._group.executor.leases(self), None)
        return (None, 0.0) if oldest is None else (oldest.id, self._head_since)

    # What it is told

    def may_work_for(self, crawl: int) -> bool:
        return self.state is HandleState.OPEN

    def open(self, setup: OpenCrawl) -> None:
        """Make the worker thread, and open the consumers of a crawl there."""
        self.known.update(definition.number for definition in setup.definitions)
        command = b"".join(encode_command(Boot((setup,))))
        self._group.connection.open_thread(self.thread, self.address, command, self._answered)

    def send(self, batch: Batch) -> None:
        if not self._open:
            self._head_since = monotonic()
        self._open += 1
        hops = dict.fromkeys(row[1] for row in batch.rows)
        name = "+".join(self._group.names[hop] for hop in hops)
        self._send(name, batch, self._limits(batch))

    def close(self, ending: Ending) -> None:
        """Have the consumers closed after all messages that were sent."""
        self.state = HandleState.CLOSING
        self._send(f"close-{self._level}", PoisonPill(ending), {})

    def _send(self, name: str, command: Command, limits: dict[int, float]) -> None:
        self._numbers += 1
        key, data = f"{name}-{uuid.uuid4().hex}", b"".join(encode_command(command))
        arguments = self.thread, self.address, key, self._numbers, data, limits, self._answered
        self._group.connection.call(self.thread, Session.run_command, *arguments)

    def leave(self) -> None:
        """Let the worker thread end, which closes what is open. Nothing more is heard of it."""
        self.state = HandleState.GONE
        self._group.connection.release(self.thread, self.address)

    def tasks_settled(self, tasks: int, messages: int) -> None:
        self.settled += tasks
        if messages:
            self._open -= messages
            self._head_since = monotonic()

    def kill_overdue(self, task_id: int, stack: str) -> None:
        self.overdue, self.stack = task_id, stack
        self.kill_for(KilledFor.TIMEOUT)

    def kill_for(self, reason: KilledFor) -> None:
        """End the worker process for a reason of ours."""
        self.killed_for = reason
        self.state = HandleState.CLOSING
        self._group.connection.call("", Session.kill_worker, self.address)

    # What it tells

    def opened(self) -> None:
        self.has_opened = True
        self.state = HandleState.OPEN

    def _answered(self, number: int, answer: Answer | BaseException | None) -> None:
        if self.state is not HandleState.GONE:
            self._group.answered(self, number, answer)

    def reports_of(self, answer: Answer) -> Iterator[tuple[Report, int]]:
        """Give the reports of an answer that has come, and how many bytes each has."""
        self.heard_at = monotonic()
        return ((decode_report(data), len(data)) for data in answer.reports)

    def go_on(self, number: int, answer: Answer) -> None:
        """Ask for more of what comes of a command, or kill a worker whose task takes too long."""
        if answer.overdue is not None:
            self._end_overdue(answer.overdue, answer.stack)
        elif not answer.is_last and self.state is not HandleState.GONE:
            arguments = self.thread, self.address, number, self._answered
            self._group.connection.call(self.thread, Session.listen, *arguments)

    # Its limits of time. The worker process tells of a task that takes too long, unless code in C
    # never lets another thread run. So when a message is there for longer than one task may take,
    # the worker is pinged, and has as long again for the answer: a worker that lets nobody speak
    # for the time of a task is at one that takes too long.

    def watch(self) -> None:
        """Look after it while it has work."""
        if not self._is_watched:
            self._is_watched = True
            self._group.loop.call_later(self._allowed(), self._look)

    def _look(self) -> None:
        head = self._oldest_message()
        self._is_watched = not self.is_killed and bool(head)
        if self.state is HandleState.GONE or not self._is_watched:
            return
        left = self._head_since + self._allowed() - monotonic()
        if left > 0 or not all(task.limit for task in head):
            self._group.loop.call_later(max(left, _MARGIN), self._look)
        else:
            self.ask(self._allowed(), self._pinged)

    def ask(self, seconds: float, told: Callable[[str | None], None]) -> None:
        """Call *told* with where the worker thread is; ``None``: no answer in that time."""
        arguments = self.address, self.thread, seconds, told
        self._group.connection.call(self.thread, Session.ask, *arguments)

    def _pinged(self, stack: str | None) -> None:
        if self.state is HandleState.GONE:
            return
        head = self._oldest_message()
        if self.is_killed or not head:
            self._is_watched = False
        elif stack is not None:
            self._group.loop.call_later(self._allowed(), self._look)
        elif len(head) == 1:
            self._end_overdue(head[0].id, "no stack, because no thread of the process answers")
        else:
            logger.warning(
                "One of %d items takes longer than MPWORKERS_ITEM_TIMEOUT; their worker %s is "
                "killed, and they run again one by one",
                len(head),
                self.title,
            )
            self.kill_for(KilledFor.STUCK)
            self._group.killed(self)

    def _end_overdue(self, task_id: int, stack: str) -> None:
        task = self._group.executor.task(self, task_id)
        if task is not None and not self.is_killed:
            end_overdue(self, task, stack, self._group.runs_as_one)
            self._group.killed(self)

    def _allowed(self) -> float:
        # Seconds for the longest task of the oldest message.
        return max((task.limit for task in self._oldest_message()), default=0.0) + _MARGIN

    def _oldest_message(self) -> list[Task]:
        leases = list(self._group.executor.leases(self))
        return [task for task in leases if task.message is leases[0].message]

    def _limits(self, batch: Batch) -> dict[int, float]:
        tasks = (self._group.executor.task(self, row[0]) for row in batch.rows)
        return {task.id: task.limit for task in tasks if task is not None and task.limit}
