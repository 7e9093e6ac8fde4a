"""A lane of a Dask cluster: a seat in one of its worker processes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Protocol

from scrapy_mpworkers.backends.dask.client import Done
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


class Owner(Protocol):
    """What a lane needs of its pool."""

    def heard(self, handle: DaskHandle, report: Report, size: int) -> None: ...
    def is_overdue(self, handle: DaskHandle, task_id: int) -> None: ...
    def is_killed(self, handle: DaskHandle) -> None: ...
    def failed(self, handle: DaskHandle, why: str) -> None: ...
    def limits(self, handle: DaskHandle, task_ids: list[int]) -> dict[int, float]: ...


class DaskHandle:
    """All its methods are called in the crawl's thread.

    Args:
        name: what the workers of its pool are called.
        place: which of the pool's places this lane fills, from 0.
        generation: how many lanes have filled it before.
        address: of the worker.
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
        self.settled = 0  #: tasks that it has settled
        self.heard_at = 0.0  #: when its last answer came, ``time.monotonic()``
        self.head_since = 0.0  #: when its oldest message got there, likewise
        self.is_gone = False
        self._level = name
        self._connection = connection
        self._owner = owner
        self._names = names
        self._seat = f"open-{name}-{uuid.uuid4().hex}"
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

    def sit(self, setup: OpenCrawl) -> None:
        """Open the consumers of a crawl there."""
        self.known.update(definition.number for definition in setup.definitions)
        order = b"".join(encode_command(Boot((setup,))))
        self._connection.sit(self.address, self._seat, order, self._done(0))

    def send(self, order: Batch) -> None:
        """Send a message of tasks. Never waits."""
        if not self._open:
            self.head_since = monotonic()
        self._open += 1
        hops = dict.fromkeys(row[1] for row in order.rows)
        limits = self._owner.limits(self, [row[0] for row in order.rows])
        self._send("+".join(self._names[hop] for hop in hops), order, limits)

    def close(self) -> None:
        """Have the consumers closed, behind what is there."""
        self.closing = True
        self._send(f"close-{self._level}", POISON_PILL, {})

    def leave(self) -> None:
        """Let go of the seat, which closes what is open. Nothing more is heard of it."""
        self.is_gone = True
        self._connection.release(self.address, self._seat)

    def message_done(self) -> None:
        """One message is over: its last task is settled."""
        self._open -= 1
        self.head_since = monotonic()

    def kill_overdue(self, task_id: int) -> None:
        """End its worker, since this task takes longer than it may."""
        self.overdue = task_id
        self.kill_for_good()

    def kill_for_good(self) -> None:
        """End its worker, for a reason of ours: nobody is charged."""
        self.killed = self.closing = True
        self._connection.end_worker(self.address)
        self._owner.is_killed(self)

    def ask(self, seconds: float, answered: Callable[[bool], None]) -> None:
        """Ask whether the worker hears; *answered* is told within *seconds*."""
        self._connection.ask(self.address, seconds, answered)

    def _send(self, name: str, order: Command, limits: dict[int, float]) -> None:
        self._numbers += 1
        data = b"".join(encode_command(order))
        key = f"{name}-{uuid.uuid4().hex}"
        message = self._seat, self._numbers, data, limits
        self._connection.send(self.address, key, message, self._done(self._numbers))

    def _done(self, number: int) -> Done:
        return partial(self._answered, number)

    def _answered(self, number: int, answer: Answer | BaseException | None) -> None:
        if self.is_gone:
            return
        self.heard_at = monotonic()
        if not isinstance(answer, Answer):
            why = "its seat there is gone" if answer is None else _in_words(answer)
            self._owner.failed(self, why)
            return
        for data in answer.reports:
            self._owner.heard(self, decode_report(data), len(data))
        if answer.overdue is not None:
            self._owner.is_overdue(self, answer.overdue)
        elif not answer.is_last and not self.is_gone:
            self._connection.listen(self.address, self._seat, number, self._done(number))


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
