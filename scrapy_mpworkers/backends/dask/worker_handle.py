"""A worker thread in a worker process of a Dask cluster, as the crawl sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.backends.dask.client import Session
from scrapy_mpworkers.backends.dask.cluster import ConnectionEvents
from scrapy_mpworkers.backends.dask.connection import Connection
from scrapy_mpworkers.wire.framing import decode_report, encode_command
from scrapy_mpworkers.wire.messages import (
    POISON_PILL,
    Answer,
    Batch,
    Boot,
    Command,
    OpenCrawl,
    Report,
)


class Owner(ConnectionEvents, Protocol):
    """A group of workers: hears their answers, and knows the limits of their tasks."""

    def limits(self, handle: DaskHandle, task_ids: list[int]) -> dict[int, float]: ...


class DaskHandle:
    """All its methods are called in the crawl's thread.

    Args:
        name: what the workers of its group are called.
        place: which place of the group it fills, from 0.
        generation: how many workers have filled it before.
        address: of the worker process.
        names: of the pipelines of a hop, by its number.
    """

    def __init__(
        self,
        name: str,
        place: int,
        generation: int,
        address: str,
        connection: Connection,
        owner: Owner,
        names: Mapping[int, str],
    ) -> None:
        self.place = place
        self.address = address
        self.name = f"{name}-{place + 1}" + (f".{generation}" if generation else "")
        self.open_for: set[int] = set()  #: crawls whose consumers are open in it
        self.closing = False  #: the pill is on its way, or its worker is being killed
        self.killed = False  #: by us: its end charges nobody
        self.is_silent = False  #: killed with tasks one of which took too long, who knows which
        self.overdue: int | None = None  #: the task for whose time it is killed
        self.known: set[int] = set()  #: numbers of the definitions that it has got
        self.thread = (
            f"open-{name}-{uuid.uuid4().hex}"  #: the worker thread, as Dask calls its task
        )
        self.settled = 0  #: tasks that it has settled
        self.heard_at = 0.0  #: when its last answer came, ``time.monotonic()``
        self.head_since = 0.0  #: when its oldest message got there, likewise
        self.is_gone = False
        self._level = name
        self._connection = connection
        self._owner = owner
        self._names = names
        self._numbers = 0
        self._open = 0

    @property
    def title(self) -> str:
        """Its name in the texts of errors and warnings."""
        return f"{self.name} ({self.address})"

    @property
    def has_work(self) -> bool:
        """Whether a message is open."""
        return self._open > 0

    @property
    def open_messages(self) -> int:
        """How many messages are open."""
        return self._open

    def open(self, setup: OpenCrawl) -> None:
        """Make the worker thread, and open the consumers of a crawl there."""
        self.known.update(definition.number for definition in setup.definitions)
        command = b"".join(encode_command(Boot((setup,))))
        self._connection.open_thread(self._owner, self.thread, self.address, command)

    def send(self, batch: Batch) -> None:
        """Send a message of tasks, without waiting."""
        if not self._open:
            self.head_since = monotonic()
        self._open += 1
        hops = dict.fromkeys(row[1] for row in batch.rows)
        limits = self._owner.limits(self, [row[0] for row in batch.rows])
        self._send("+".join(self._names[hop] for hop in hops), batch, limits)

    def close(self) -> None:
        """Have the consumers closed, behind what is there."""
        self.closing = True
        self._send(f"close-{self._level}", POISON_PILL, {})

    def leave(self) -> None:
        """Let the worker thread end, which closes what is open. Nothing more is heard of it."""
        self.is_gone = True
        self._connection.release(self.thread, self.address)

    def tasks_settled(self, tasks: int, messages: int) -> None:
        """Count *tasks* that it has settled, and *messages* whose last task is settled."""
        self.settled += tasks
        if messages:
            self._open -= messages
            self.head_since = monotonic()

    def kill_overdue(self, task_id: int) -> None:
        """End its worker, since this task takes longer than it may."""
        self.overdue = task_id
        self.kill_for_good()

    def kill_for_good(self) -> None:
        """End the worker process, for a reason of ours: nobody is charged."""
        self.killed = self.closing = True
        self._connection.call("", Session.kill_worker, self.address)

    def ping(self, seconds: float) -> None:
        """Ask whether the worker hears; the events' ``pinged`` follows within *seconds*."""
        self._connection.call(self.thread, Session.ping, self.thread, self.address, seconds)

    def listen(self, number: int) -> None:
        """Ask for more of what comes of a command."""
        self._connection.call(self.thread, Session.listen, self.thread, self.address, number)

    def reports_of(self, answer: Answer) -> Iterator[tuple[Report, int]]:
        """Give the reports of an answer that has come, and how many bytes each has."""
        self.heard_at = monotonic()
        return ((decode_report(data), len(data)) for data in answer.reports)

    def _send(self, name: str, command: Command, limits: dict[int, float]) -> None:
        self._numbers += 1
        key, data = f"{name}-{uuid.uuid4().hex}", b"".join(encode_command(command))
        arguments = self.thread, self.address, key, self._numbers, data, limits
        self._connection.call(self.thread, Session.run_command, *arguments)
