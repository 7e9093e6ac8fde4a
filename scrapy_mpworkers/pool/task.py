"""A task, the message that brings it to a worker, and the future of its outcome."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

from scrapy_mpworkers.wire.messages import MORE, Outcome, TaskRow


class Future(Protocol):
    """A result that is awaited once: a future of asyncio, or a Deferred in that form."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def done(self) -> bool: ...
    def set_result(self, value: Any, /) -> None: ...


@dataclass(slots=True, eq=False)
class Message:
    """A queue message. ``unsettled``: how many of its tasks are; ``leased_at``: when it went."""

    unsettled: int
    leased_at: float = 0.0


@dataclass(slots=True, eq=False)
class Task:
    """A task with its history. Whoever submits it gets this object, and awaits its future.

    Attributes:
        row: the task as it crosses.
        needs: the definitions that its frame refers to.
        size: bytes that cross.
        limit: seconds that it may take, 0: any.
        subject: what it is about, which the pool does not look at.
        message: the message in which it is leased.
        returned: how often it has come back from a lost worker.
        quarantined: it travels and runs alone.
        is_over: it has given all that anybody wants of it.
    """

    id: int
    row: TaskRow
    needs: tuple[int, ...]
    future: Future
    size: int
    submitted_at: float
    limit: float = 0.0
    subject: Any = None
    message: Message | None = None
    returned: int = 0
    deaths: int = 0
    quarantined: bool = False
    is_over: bool = False

    @property
    def hop(self) -> int:
        return self.row[1]

    @property
    def attempts(self) -> int:
        """How often it was leased."""
        return self.returned + (self.message is not None)

    @property
    def leased_at(self) -> float:
        """When its worker got it."""
        assert self.message is not None
        return self.message.leased_at

    def awaits(self, left: Outcome) -> bool:
        """Return whether an outcome that a dead worker has left is new. If the task had given a
        part, and its worker died before it read that it shall go on, the part is still there."""
        return left.status != MORE or left.keys != self.row[3]
