"""Who holds which task. Pure: no clock, no process.

A task waits, is leased to a lane as part of a message, and is settled once. When a lane is lost
its leases go back to the front, except a task that has cost too many workers. One that has cost a
worker already is *charged*; it waits in a queue of its own, and travels and runs alone. So do those
that ran together when their worker died: one of them is to blame, and alone it shows which.

A task is *suspect* if its worker has begun it and died before its outcome was here: it may have
finished, and have broken what its worker needs. Suspects are charged as well, but none is given up
before it was alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, TypeVar

from scrapy_mpworkers.wire.messages import TaskRow

LaneT = TypeVar("LaneT", bound=Hashable)


@dataclass(slots=True, eq=False)
class Message:
    """A queue message. ``unsettled``: how many of its tasks are; ``leased_at``: when it went."""

    unsettled: int
    leased_at: float = 0.0


@dataclass(slots=True, eq=False)
class Entry:
    """A task with its history. ``row``: the task as it crosses; ``needs``: the definitions that its
    frame refers to; ``settle``: to be called with its end.

    ``size``: bytes that cross; ``limit``: seconds that it may take, 0: any; ``message``: that it is
    leased with; ``returned``: how often it has come back from a lost lane; ``alone``: whether it
    travels and runs alone.
    """

    id: int
    row: TaskRow
    needs: tuple[int, ...]
    settle: Callable[[Any], None]
    size: int
    submitted_at: float
    limit: float = 0.0
    message: Message | None = None
    returned: int = 0
    deaths: int = 0
    alone: bool = False

    @property
    def hop(self) -> int:
        """Where the task goes."""
        return self.row[1]

    @property
    def attempts(self) -> int:
        """How often it was leased."""
        return self.returned + (self.message is not None)

    @property
    def leased_at(self) -> float:
        """When its lane got it."""
        assert self.message is not None
        return self.message.leased_at


class Lost(NamedTuple):
    """What a lost lane leaves: tasks to run again, one to give up, messages never finished."""

    redelivered: int
    given_up: Entry | None
    open_messages: int


class TaskQueue:
    """The books of one crawl in a pool. Lanes are any hashable.

    Args:
        together: whether the tasks of a message run as one.
        in_order: whether no task may overtake another one, not even one that travels alone. For a
            ledger with one lane at a time.
    """

    def __init__(self, together: bool = False, in_order: bool = False) -> None:
        self._together = together
        self._in_order = in_order
        self._waiting: deque[Entry] = deque()
        self._alone: deque[Entry] = deque()
        self._alone_in_line = 0  # of those that wait, where all wait in one line
        self._leases: dict[Hashable, dict[int, Entry]] = {}
        self._open_messages: Counter[Hashable] = Counter()
        self._running_alone: set[Hashable] = set()
        self._abandoned: dict[Hashable, dict[int, Message]] = {}  # given up, and still at a lane
        #: A new task waits. No method, as it is called for every item.
        self.add: Callable[[Entry], None] = self._waiting.append

    @property
    def waiting(self) -> int:
        """Tasks that may be leased together: that no lane has yet, and that do not travel alone."""
        if not self._alone_in_line:
            return len(self._waiting)
        return next(number for number, entry in enumerate(self._waiting) if entry.alone)

    @property
    def waiting_since(self) -> float | None:
        """When the first of them was submitted."""
        return self._waiting[0].submitted_at if self._waiting else None

    @property
    def alone(self) -> int:
        """Tasks that travel alone, whose turn it is."""
        if not self._in_order:
            return len(self._alone)
        return int(self._alone_in_line > 0 and self._waiting[0].alone)

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        waiting = len(self._waiting) + len(self._alone)
        return waiting + sum(map(len, self._leases.values()))

    def open_messages(self, handle: Hashable) -> int:
        """Queue messages of *lane* with a task that is not settled."""
        return self._open_messages[handle]

    def open_messages_of(self, handles: Sequence[Hashable]) -> list[int]:
        """The same for each of *lanes*."""
        return list(map(self._open_messages.__getitem__, handles))

    def leases(self, handle: Hashable) -> Iterator[Entry]:
        """The unsettled entries that *lane* holds, oldest first."""
        return iter(self._leases.get(handle, {}).values())

    def not_alone(self, handles: Sequence[LaneT]) -> Sequence[LaneT]:
        """*lanes* without those that run a task alone and must not get another one behind it."""
        if not self._running_alone:
            return handles
        return [handle for handle in handles if handle not in self._running_alone]

    def is_held_beside(self, handles: Sequence[Hashable]) -> bool:
        """Whether any other lane than these has a lease."""
        return any(held and handle not in handles for handle, held in self._leases.items())

    def lease(
        self, handle: Hashable, count: int, now: float, most_bytes: float = inf
    ) -> list[Entry]:
        """Give *lane* up to *count* waiting tasks as one message.

        Args:
            most_bytes: that they may have together; one alone may have more.
        """
        waiting, size = self._waiting, 0
        entries: list[Entry] = []
        for _ in range(min(count, self.waiting)):
            size += waiting[0].size
            if size > most_bytes and entries:
                break
            entries.append(waiting.popleft())
        return self._lease(handle, entries, now)

    def lease_alone(self, handle: Hashable, now: float) -> list[Entry]:
        """Give *lane* the first of the tasks that travel alone, as a message of its own."""
        self._running_alone.add(handle)
        self._alone_in_line -= self._in_order
        queue = self._waiting if self._in_order else self._alone
        return self._lease(handle, [queue.popleft()], now)

    def _lease(self, handle: Hashable, entries: list[Entry], now: float) -> list[Entry]:
        leases = self._leases.setdefault(handle, {})
        message = Message(len(entries), now)
        for entry in entries:
            entry.message = message
            leases[entry.id] = entry
        self._open_messages[handle] += bool(entries)
        return entries

    def settle(self, handle: Hashable, task_ids: Sequence[int]) -> tuple[list[Entry | None], int]:
        """The outcomes of some tasks have come.

        Returns:
            the entry of each, ``None`` if nobody waits for it any more; and how many messages of
            *lane* are over.
        """
        leases, over = self._leases.get(handle, {}), 0
        entries = [leases.pop(task_id, None) for task_id in task_ids]
        for task_id, entry in zip(task_ids, entries, strict=True):
            if entry is None:
                over += self._came_late(handle, task_id)
                continue
            message = entry.message
            message.unsettled -= 1  # type: ignore[union-attr]
            if not message.unsettled:  # type: ignore[union-attr]
                over += 1
            if entry.alone:
                self._running_alone.discard(handle)
        self._open_messages[handle] -= over
        return entries, over

    def entry(self, handle: Hashable, task_id: int) -> Entry | None:
        """The unsettled entry of a task that *lane* holds."""
        return self._leases.get(handle, {}).get(task_id)

    def withdraw(self, task_id: int) -> Entry | None:
        """Take back a task that no lane has yet; ``None`` if there is none."""
        for queue in (self._waiting, self._alone):
            for entry in queue:
                if entry.id == task_id:
                    queue.remove(entry)
                    self._alone_in_line -= entry.alone and self._in_order
                    return entry
        return None

    def accomplices(self, handle: Hashable, task_id: int | None) -> list[Entry]:
        """The tasks that run as one with this one and itself; none if it runs alone."""
        entry = self._leases.get(handle, {}).get(task_id) if task_id is not None else None
        if entry is None or entry.message is None or not self._together:
            return []
        message = entry.message
        if message.unsettled < 2:
            return []
        return [other for other in self._leases[handle].values() if other.message is message]

    def lose(
        self, handle: Hashable, charged: int | None, deaths_allowed: int, begun: int | None = None
    ) -> Lost:
        """*lane* is gone. *charged* is the task to blame, and tasks up to *begun*, the last that
        was begun there, are suspects; the others go back free.

        If it ran as one with others, nobody knows which of them is to blame: they run again, alone.
        """
        accomplices = self.accomplices(handle, begun if charged is None else charged)
        open_messages = self.forget(handle)
        self._running_alone.discard(handle)
        leases = self._leases.pop(handle, {})
        given_up = None
        for entry in accomplices:
            entry.alone = True
        for entry in [] if accomplices else _blamed(leases, charged, begun):
            is_sure = entry.id == charged or entry.alone
            entry.deaths += 1
            entry.alone = True
            if is_sure and entry.deaths > deaths_allowed:
                given_up = leases.pop(entry.id)
        for entry in reversed(leases.values()):
            entry.message = None
            entry.returned += 1
            if entry.alone and not self._in_order:
                self._alone.appendleft(entry)
            else:
                self._alone_in_line += entry.alone
                self._waiting.appendleft(entry)
        return Lost(len(leases), given_up, open_messages)

    def _came_late(self, handle: Hashable, task_id: int) -> bool:
        """The outcome of a task that was given up has come: whether its message is over now."""
        message = self._abandoned.get(handle, {}).pop(task_id, None)
        if message is None:
            return False
        message.unsettled -= 1
        return not message.unsettled

    def forget(self, handle: Hashable) -> int:
        """*lane* has nothing of these books any more, but lives on. Returns its open messages:
        those of tasks that were given up."""
        self._abandoned.pop(handle, None)
        return self._open_messages.pop(handle, 0)

    def clear(self) -> list[Entry]:
        """Every task is given up; its lane may still work on it. Returns them, oldest first."""
        entries = [entry for leases in self._leases.values() for entry in leases.values()]
        for handle, leases in self._leases.items():
            messages = {n: entry.message for n, entry in leases.items() if entry.message}
            self._abandoned.setdefault(handle, {}).update(messages)
        entries += [*self._alone, *self._waiting]
        self._alone.clear()
        self._alone_in_line = 0
        self._waiting.clear()
        self._leases.clear()
        self._running_alone.clear()
        return sorted(entries, key=lambda entry: entry.id)


def _blamed(leases: dict[int, Entry], charged: int | None, begun: int | None) -> list[Entry]:
    """Of the *leases* of a lost lane: the task to blame, and the suspects."""
    if begun not in leases:
        return [entry for task_id, entry in leases.items() if task_id == charged]
    ids = list(leases)
    return [leases[task_id] for task_id in ids[: ids.index(begun) + 1]]
