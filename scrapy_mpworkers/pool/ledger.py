"""Who holds which task. Pure: no clock, no process.

A task waits, is leased to a lane as part of a message, and is settled once. When a lane is lost
its leases go back to the front, except a task that has cost too many workers. One that has cost a
worker already is *charged*: it waits in a queue of its own, and travels and runs alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from scrapy_mpworkers.wire.messages import Task

LaneT = TypeVar("LaneT", bound=Hashable)


@dataclass(slots=True, eq=False)
class Message:
    """A queue message. ``unsettled``: how many of its tasks are."""

    unsettled: int


@dataclass(slots=True, eq=False)
class Entry:
    """A task with its history. ``needs``: the definitions that its frame refers to."""

    task: Task
    needs: tuple[int, ...]
    submitted_at: float
    leased_at: float = 0.0
    attempts: int = 0
    deaths: int = 0
    message: Message | None = None


class Lost(NamedTuple):
    """What a lost lane leaves: tasks to run again, one to give up, messages never finished."""

    redelivered: int
    given_up: Entry | None
    open_messages: int


class Ledger:
    """The books of one pool. Lanes are any hashable."""

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        self._charged: deque[Entry] = deque()
        self._leases: dict[Hashable, dict[int, Entry]] = {}
        self._open_messages: Counter[Hashable] = Counter()
        self._running_charged: set[Hashable] = set()

    @property
    def waiting(self) -> int:
        """Tasks that no lane has yet, without those that are charged."""
        return len(self._waiting)

    @property
    def charged(self) -> int:
        """Charged tasks that no lane has yet."""
        return len(self._charged)

    @property
    def pending(self) -> int:
        """Tasks that are not settled."""
        waiting = len(self._waiting) + len(self._charged)
        return waiting + sum(map(len, self._leases.values()))

    def open_messages(self, lane: Hashable) -> int:
        """Queue messages of *lane* with a task that is not settled."""
        return self._open_messages[lane]

    def open_messages_of(self, lanes: Sequence[Hashable]) -> list[int]:
        """The same for each of *lanes*."""
        return list(map(self._open_messages.__getitem__, lanes))

    def leases(self, lane: Hashable) -> Iterator[Entry]:
        """The unsettled entries that *lane* holds, oldest first."""
        return iter(self._leases.get(lane, {}).values())

    def add(self, entry: Entry) -> None:
        """A new task waits."""
        self._waiting.append(entry)

    def without_charged(self, lanes: Sequence[LaneT]) -> Sequence[LaneT]:
        """Those of *lanes* that have no charged task, which must not get another one behind it."""
        if not self._running_charged:
            return lanes
        return [lane for lane in lanes if lane not in self._running_charged]

    def lease(self, lane: Hashable, count: int, now: float) -> list[Entry]:
        """Give *lane* up to *count* waiting tasks as one message."""
        count = min(count, len(self._waiting))
        return self._lease(lane, [self._waiting.popleft() for _ in range(count)], now)

    def lease_charged(self, lane: Hashable, now: float) -> list[Entry]:
        """Give *lane* the charged task that has waited longest, as a message of its own."""
        self._running_charged.add(lane)
        return self._lease(lane, [self._charged.popleft()], now)

    def _lease(self, lane: Hashable, entries: list[Entry], now: float) -> list[Entry]:
        leases = self._leases.setdefault(lane, {})
        message = Message(len(entries))
        for entry in entries:
            entry.message, entry.leased_at = message, now
            entry.attempts += 1
            leases[entry.task.id] = entry
        self._open_messages[lane] += bool(entries)
        return entries

    def settle(self, lane: Hashable, task_id: int) -> Entry | None:
        """The outcome of a task has come; ``None`` if nobody waits for it any more.

        The last task of a queue message leaves ``entry.message.unsettled`` at 0.
        """
        entry = self._leases.get(lane, {}).pop(task_id, None)
        if entry is None:
            return None
        assert entry.message is not None
        if entry.deaths:
            self._running_charged.discard(lane)
        entry.message.unsettled -= 1
        if not entry.message.unsettled:
            self._open_messages[lane] -= 1
        return entry

    def lose(self, lane: Hashable, charged: int | None, deaths_allowed: int) -> Lost:
        """*lane* is gone. *charged* is the task to blame; the others go back free."""
        open_messages = self._open_messages.pop(lane, 0)
        self._running_charged.discard(lane)
        leases = self._leases.pop(lane, {})
        given_up = None
        blamed = leases.get(charged) if charged is not None else None
        if blamed is not None:
            blamed.deaths += 1
            if blamed.deaths > deaths_allowed:
                given_up = leases.pop(blamed.task.id)
        self._charged.extend(entry for entry in leases.values() if entry.deaths)
        self._waiting.extendleft(entry for entry in reversed(leases.values()) if not entry.deaths)
        return Lost(len(leases), given_up, open_messages)

    def clear(self) -> list[Entry]:
        """Every task is given up; its lane may still work on it. Returns them, oldest first."""
        entries = [entry for leases in self._leases.values() for entry in leases.values()]
        entries += [*self._charged, *self._waiting]
        self._charged.clear()
        self._waiting.clear()
        self._leases.clear()
        self._running_charged.clear()
        return sorted(entries, key=lambda entry: entry.task.id)
