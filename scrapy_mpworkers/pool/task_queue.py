"""The queue notes which worker holds which task. It is pure: no clock, no process.

A task waits, is leased to a worker as part of a message, and is settled once. When a worker is lost
its leases go back to the front, except a task that has cost too many workers. One that may have
cost a worker is *quarantined*: it travels and runs alone.

A task is *suspect* if its worker has begun it and died before its outcome was here: it may have
finished, and have broken what its worker needs. The death counts against a suspect as well, but
none is given up before it was alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple, TypeVar

from scrapy_mpworkers.pool.parked import ParkedTasks
from scrapy_mpworkers.pool.task import Message, Task

HandleT = TypeVar("HandleT", bound=Hashable)


class Lost(NamedTuple):
    """A lost worker leaves tasks to run again, perhaps one to give up, and some that are over."""

    redelivered: int
    given_up: Task | None
    over: tuple[Task, ...] = ()


class TaskQueue:
    """Holds the tasks of one crawl in a pool, by the workers (any hashable) that have them.

    Args:
        batched: whether the tasks of a message run as one.
        in_order: whether no task may overtake another one; for one worker at a time.
    """

    def __init__(self, batched: bool = False, in_order: bool = False) -> None:
        self._batched = batched
        self._in_order = in_order
        self._waiting: deque[Task] = deque()
        self._quarantine: deque[Task] = deque()
        self._quarantined_in_line = 0  # how many of the waiting are quarantined, if in order
        self._leases: dict[Hashable, dict[int, Task]] = {}
        self._open_messages: Counter[Hashable] = Counter()
        self._running_quarantined: set[Hashable] = set()
        self.parked = ParkedTasks()
        self._abandoned: dict[Hashable, dict[int, Message]] = {}  # given up, and still at a worker
        #: Lets a new task wait. The deque's own method saves each item a call.
        self.add: Callable[[Task], None] = self._waiting.append

    @property
    def waiting(self) -> int:
        """Tasks that may be leased in one message: none is leased yet, none quarantined."""
        if not self._quarantined_in_line:
            return len(self._waiting)
        return next(number for number, task in enumerate(self._waiting) if task.quarantined)

    @property
    def waiting_since(self) -> float | None:
        return self._waiting[0].submitted_at if self._waiting else None

    @property
    def quarantined(self) -> int:
        """Quarantined tasks that may be leased now."""
        if not self._in_order:
            return len(self._quarantine)
        return int(self._quarantined_in_line > 0 and self._waiting[0].quarantined)

    @property
    def pending(self) -> int:
        waiting = len(self._waiting) + len(self._quarantine)
        return waiting + sum(map(len, self._leases.values())) + len(self.parked)

    def open_messages(self, handle: Hashable) -> int:
        """Return how many messages of a worker have an unsettled task."""
        return self._open_messages[handle]

    def look(self, handles: Sequence[HandleT]) -> tuple[int, dict[HandleT, int]]:
        """Return how many tasks wait, and how many open messages each of *handles* has, but for
        those with a quarantined task: they must not get another one behind it."""
        waiting = self.waiting if self._quarantined_in_line else len(self._waiting)
        if self._running_quarantined:
            handles = [handle for handle in handles if handle not in self._running_quarantined]
        loads = map(self._open_messages.__getitem__, handles)
        return waiting, dict(zip(handles, loads, strict=True))

    def leases(self, handle: Hashable) -> Iterator[Task]:
        """Iterate over the unsettled tasks that a worker has, oldest first."""
        return iter(self._leases.get(handle, {}).values())

    def is_held_beside(self, handles: Sequence[Hashable]) -> bool:
        """Return whether any other worker than these has a lease."""
        return any(held and handle not in handles for handle, held in self._leases.items())

    def lease(
        self, handle: Hashable, count: int, now: float, most_bytes: float = inf
    ) -> list[Task]:
        """Give a worker up to *count* waiting tasks as one message, of *most_bytes* at most unless
        the first one alone has more."""
        waiting, size = self._waiting, 0
        tasks: list[Task] = []
        for _ in range(min(count, self.waiting)):
            size += waiting[0].size
            if size > most_bytes and tasks:
                break
            tasks.append(waiting.popleft())
        return self._lease(handle, tasks, now)

    def lease_quarantined(self, handle: Hashable, now: float) -> list[Task]:
        """Give a worker the first quarantined task, as a message of its own."""
        self._running_quarantined.add(handle)
        self._quarantined_in_line -= self._in_order
        queue = self._waiting if self._in_order else self._quarantine
        return self._lease(handle, [queue.popleft()], now)

    def _lease(self, handle: Hashable, tasks: list[Task], now: float) -> list[Task]:
        leases = self._leases.setdefault(handle, {})
        message = Message(len(tasks), now)
        for task in tasks:
            task.message = message
            leases[task.id] = task
        self._open_messages[handle] += bool(tasks)
        return tasks

    def settle(self, handle: Hashable, task_ids: Sequence[int]) -> tuple[list[Task | None], int]:
        """Take tasks from a worker whose outcomes have come. Return each, ``None`` if nobody
        waits for it any more, and how many messages are over."""
        leases, over = self._leases.get(handle, {}), 0
        tasks = [leases.pop(task_id, None) for task_id in task_ids]
        for task_id, task in zip(task_ids, tasks, strict=True):
            if task is None:
                over += self._came_late(handle, task_id)
                continue
            message = task.message
            message.unsettled -= 1  # type: ignore[union-attr]
            over += not message.unsettled  # type: ignore[union-attr]
            if task.quarantined:
                self._running_quarantined.discard(handle)
        self._open_messages[handle] -= over
        return tasks, over

    def park(self, handle: Hashable, task: Task) -> None:
        """Keep a task that is reported, and goes on at its worker when it is told to."""
        task.message = None
        self.parked.add(handle, task)

    def go_on(self, handle: Hashable | None, task: Task, now: float) -> None:
        """Lease a task to its worker again; if that is gone, let it wait for another one."""
        if handle is not None:
            self._lease(handle, [task], now)
        else:
            self._waiting.appendleft(task)

    def task(self, handle: Hashable, task_id: int | None) -> Task | None:
        return None if task_id is None else self._leases.get(handle, {}).get(task_id)

    def withdraw(self, task_id: int) -> Task | None:
        """Take back a task that no worker has yet; return ``None`` if there is none."""
        for queue in (self._waiting, self._quarantine):
            for task in queue:
                if task.id == task_id:
                    queue.remove(task)
                    self._quarantined_in_line -= task.quarantined and self._in_order
                    return task
        return None

    def suspects(self, handle: Hashable, task_id: int | None) -> list[Task]:
        """Return the tasks that run as one with this one, and itself; none if it runs alone."""
        task = self.task(handle, task_id)
        if not self._batched or task is None or task.message.unsettled < 2:  # type: ignore[union-attr]
            return []
        return [one for one in self._leases[handle].values() if one.message is task.message]

    def lose(
        self,
        handle: Hashable,
        suspect: int | None,
        deaths_allowed: int,
        begun: Sequence[Task] = (),
    ) -> Lost:
        """Take back the tasks of a worker that is gone. *suspect* is the task to blame, those that
        were *begun* there are suspects; the others go back free.

        If the suspect ran as one with others, nobody knows which is to blame: all run again, alone.
        """
        leases = self._leases.get(handle, {})
        begun = [task for task in begun if task.id in leases]
        suspects = self.suspects(handle, begun[-1].id if begun and suspect is None else suspect)
        for task in suspects:
            task.quarantined = True
        self.forget(handle)
        self._running_quarantined.discard(handle)
        self._leases.pop(handle, None)
        self.parked.lose(handle)
        over = tuple(task for task in leases.values() if task.is_over)
        for task in over:
            del leases[task.id]
        given_up = None
        if not suspects:
            blamed = begun or [task for task in leases.values() if task.id == suspect]
            given_up = _blame(blamed, suspect, deaths_allowed)
        if given_up is not None:
            del leases[given_up.id]
        self._take_back(list(leases.values()))
        return Lost(len(leases), given_up, over)

    def _take_back(self, tasks: Sequence[Task]) -> None:
        for task in reversed(tasks):
            task.message = None
            task.returned += 1
            if task.quarantined and not self._in_order:
                self._quarantine.appendleft(task)
            else:
                self._quarantined_in_line += task.quarantined
                self._waiting.appendleft(task)

    def _came_late(self, handle: Hashable, task_id: int) -> bool:
        """Note the outcome of a task that was given up; return whether its message is over now."""
        message = self._abandoned.get(handle, {}).pop(task_id, None)
        if message is None:
            return False
        message.unsettled -= 1
        return not message.unsettled

    def forget(self, handle: Hashable) -> int:
        """Forget a worker that has no task of this queue; return how many messages it has open."""
        self._abandoned.pop(handle, None)
        return self._open_messages.pop(handle, 0)

    def clear(self) -> list[Task]:
        """Give up every task, though its worker may still be at it; return them, oldest first."""
        tasks = [task for leases in self._leases.values() for task in leases.values()]
        for handle, leases in self._leases.items():
            messages = {n: task.message for n, task in leases.items() if task.message}
            self._abandoned.setdefault(handle, {}).update(messages)
        tasks += [*self._quarantine, *self._waiting, *self.parked.clear()]
        self._quarantine.clear()
        self._quarantined_in_line = 0
        self._waiting.clear()
        self._leases.clear()
        self._running_quarantined.clear()
        return sorted(tasks, key=lambda task: task.id)


def _blame(tasks: Iterable[Task], suspect: int | None, deaths_allowed: int) -> Task | None:
    """Charge the death of their worker to *tasks*; return the one that is to be given up."""
    given_up = None
    for task in (one for one in tasks if not one.is_over):
        is_sure = task.id == suspect or task.quarantined
        task.deaths += 1
        task.quarantined = True
        if is_sure and task.deaths > deaths_allowed:
            given_up = task
    return given_up


def up_to(task_id: int | None, leases: Iterable[Task]) -> list[Task]:
    """Return the *leases* up to the task with this number, and none if it is not among them."""
    tasks = list(leases)
    ids = [task.id for task in tasks]
    return tasks[: ids.index(task_id) + 1] if task_id in ids else []
