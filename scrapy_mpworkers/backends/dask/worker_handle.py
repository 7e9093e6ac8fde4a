"""A worker thread in a worker process of a Dask cluster, as the crawl sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from time import monotonic

from scrapy_mpworkers.backends.dask.client import Session
from scrapy_mpworkers.backends.dask.cluster import ConnectionEvents
from scrapy_mpworkers.backends.dask.connection import Connection
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import WorkerHandle
from scrapy_mpworkers.pool.task_queue import Task
from scrapy_mpworkers.pool.worker_handle import KilledFor
from scrapy_mpworkers.wire.frames import decode_report, encode_command
from scrapy_mpworkers.wire.messages import (
    POISON_PILL,
    Answer,
    Batch,
    Boot,
    Command,
    OpenCrawl,
    Report,
)


class HandleState(Enum):
    """The steps of a worker, from the first command to its end."""

    OPENING = 0
    OPEN = 1  #: its consumers are open
    CLOSING = 2  #: the pill is on its way, or its process is being killed
    GONE = 3


class DaskHandle(WorkerHandle):
    """A worker of a group, whose methods are called in the crawl's thread.

    Args:
        address: of the worker process.
        group: told what comes of commands.
        executor: whose tasks it gets.
        names: of the pipelines of a hop, by its number.

    Attributes:
        thread: its worker thread, as Dask calls the task that makes this.
        has_opened: whether its consumers have been opened.
        head_since: when its oldest message got there, ``time.monotonic()``.
    """

    def __init__(
        self,
        name: str,
        place: int,
        generation: int,
        address: str,
        connection: Connection,
        group: ConnectionEvents,
        executor: PoolExecutor,
        names: Mapping[int, str],
    ) -> None:
        super().__init__(name, place, generation)
        self.address = address
        self.thread = f"open-{name}-{uuid.uuid4().hex}"
        self.state = HandleState.OPENING
        self.has_opened = False
        self.killed_for = KilledFor.NONE
        self.head_since = 0.0
        self._level = name
        self._connection = connection
        self._group = group
        self._executor = executor
        self._names = names
        self._numbers = 0
        self._open = 0

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
        """Return whether we have killed it: its end charges nobody."""
        return self.killed_for is not KilledFor.NONE

    # What it is told

    def may_work_for(self, crawl: int) -> bool:
        return self.state is HandleState.OPEN

    def open(self, setup: OpenCrawl) -> None:
        """Make the worker thread, and open the consumers of a crawl there."""
        self.known.update(definition.number for definition in setup.definitions)
        command = b"".join(encode_command(Boot((setup,))))
        self._connection.open_thread(self._group, self.thread, self.address, command)

    def send(self, batch: Batch) -> None:
        if not self._open:
            self.head_since = monotonic()
        self._open += 1
        hops = dict.fromkeys(row[1] for row in batch.rows)
        name = "+".join(self._names[hop] for hop in hops)
        self._send(name, batch, self._limits([row[0] for row in batch.rows]))

    def close(self) -> None:
        """Have the consumers closed, behind what is there."""
        self.state = HandleState.CLOSING
        self._send(f"close-{self._level}", POISON_PILL, {})

    def leave(self) -> None:
        """Let the worker thread end, which closes what is open. Nothing more is heard of it."""
        self.state = HandleState.GONE
        self._connection.release(self.thread, self.address)

    def tasks_settled(self, tasks: int, messages: int) -> None:
        self.settled += tasks
        if messages:
            self._open -= messages
            self.head_since = monotonic()

    def kill_overdue(self, task_id: int) -> None:
        self.overdue = task_id
        self.kill_for(KilledFor.TIMEOUT)

    def kill_for(self, reason: KilledFor) -> None:
        """End the worker process for a reason of ours."""
        self.killed_for = reason
        self.state = HandleState.CLOSING
        self._connection.call("", Session.kill_worker, self.address)

    def ping(self, seconds: float) -> None:
        """Ask whether the worker hears; the events' ``pinged`` follows within *seconds*."""
        self._connection.call(self.thread, Session.ping, self.thread, self.address, seconds)

    def listen(self, number: int) -> None:
        """Ask for more of what comes of a command."""
        self._connection.call(self.thread, Session.listen, self.thread, self.address, number)

    # What it tells

    def opened(self) -> None:
        """Note that its consumers are open."""
        self.has_opened = True
        self.state = HandleState.OPEN

    def reports_of(self, answer: Answer) -> Iterator[tuple[Report, int]]:
        """Give the reports of an answer that has come, and how many bytes each has."""
        self.heard_at = monotonic()
        return ((decode_report(data), len(data)) for data in answer.reports)

    # Its tasks

    def task(self, task_id: int) -> Task | None:
        """Return the unsettled task with this id that it has."""
        return self._executor.task(self, task_id)

    def oldest_message(self) -> list[Task]:
        """Return the unsettled tasks of its oldest message."""
        leases = list(self._executor.leases(self))
        return [task for task in leases if task.message is leases[0].message]

    def _limits(self, task_ids: Iterable[int]) -> dict[int, float]:
        tasks = map(self.task, task_ids)
        return {task.id: task.limit for task in tasks if task is not None and task.limit}

    def _send(self, name: str, command: Command, limits: dict[int, float]) -> None:
        self._numbers += 1
        key, data = f"{name}-{uuid.uuid4().hex}", b"".join(encode_command(command))
        arguments = self.thread, self.address, key, self._numbers, data, limits
        self._connection.call(self.thread, Session.run_command, *arguments)
