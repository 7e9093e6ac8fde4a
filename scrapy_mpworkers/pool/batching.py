"""Decides how many tasks travel in one message, and to whom. Pure: no clock, no process.

Either a message carries some milliseconds of work (:func:`plan`), or its tasks run as one and it is
as full as the user wants it (:func:`plan_batched`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

#: Seconds of work that one message should carry. A message costs about 100 µs on each side while
#: the workers keep all caches busy, and the items of a report share the turns of the loop in which
#: Scrapy finishes their pages; much more work in it would unbalance them. (A crawl of pages of
#: 20 KB whose items take 8 ms, against messages of 20 ms: 0.89 of the wall time with 30 ms, 0.82
#: with 40, 0.83 with 60. Items of 1 ms: 0.88 of the ideal with 4 ms, 0.92 with 10.)
TARGET = 0.040
#: Seconds of work in a message for each worker of a pool, where that is more than TARGET. One loop
#: sends all messages and hears all reports: so it is not asked for more than 2,000 of each a
#: second, however many workers it has.
TARGET_OF_A_WORKER = 0.0005
#: Tasks in one message, at most.
LARGEST = 64
#: Bytes of frames in one message, unless a single frame has more: larger messages would keep the
#: crawl's loop from all else. (1 MB items: lag p99 48 ms without this bound, 5 ms with it.)
MOST_BYTES = 1 << 20
#: Seconds of work for all workers that may be pending. A crawl that is to close has to wait for it.
PENDING_SECONDS = 1.0
#: Tasks that may be pending for each worker, unless its messages hold more; a pool counts as having
#: so many workers at least. (Pages wait with their items: a crawl of pages of 20 KB that takes 3 ms
#: for each was as fast with 32 for both workers as with 256, and 25 MB smaller than with that.)
MOST_PENDING, _FEWEST = 16, 4
#: Messages at a worker at once: the one that is worked on and one ahead, so that a worker never
#: waits for the parent between two.
PREFETCH = 2


class Pace(NamedTuple):
    """Bounds messages, and how many are under way.

    Attributes:
        seconds: work that a message carries, at least.
        largest: tasks in a message, at most.
        ahead: messages at a worker at once.
        pending: tasks that may be pending for each worker, at most.
        bytes: frames in a message, at most, unless a single frame has more.
    """

    seconds: float = TARGET
    largest: int = LARGEST
    ahead: int = PREFETCH
    pending: int = MOST_PENDING
    bytes: float = MOST_BYTES


#: The pace between processes of one machine.
NEAR = Pace()


class Batched(NamedTuple):
    """Tasks run together, at most *size* of them; none waits longer than *seconds* for others."""

    size: int
    seconds: float


class ServiceTime:
    """A moving average of the seconds that one task takes."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def add(self, seconds: float, tasks: int = 1) -> None:
        """Take in that *tasks* more are done, in *seconds* each."""
        if self.seconds is None:
            self.seconds = seconds
        else:
            self.seconds += (1 - 0.9**tasks) * (seconds - self.seconds)


def target(handles: int, pace: Pace = NEAR) -> float:
    """Return the seconds of work that one message should carry in a pool of so many workers."""
    return max(pace.seconds, TARGET_OF_A_WORKER * handles)


def batch_size(service: float | None, handles: int, pace: Pace = NEAR) -> int:
    """Return how many tasks fill a message: one while nothing is known, and for slow items."""
    if service is None:
        return 1
    return max(1, min(pace.largest, int(target(handles, pace) / max(service, 1e-6))))


class Room(NamedTuple):
    """Tasks that may be pending, under way or waiting, if nobody has set a bound; and how many the
    workers do in a second, as far as that is known."""

    items: int
    per_second: float


def room(
    services: Iterable[ServiceTime],
    workers: int,
    pace: Pace = NEAR,
    batched: Batched | None = None,
) -> Room:
    """Return how many tasks may be pending.

    That is a second of work, since a crawl that stops waits for it, but at least one message more
    for each worker than it has at once; while nothing is known, a few.

    Args:
        services: how long the tasks of each queue take.
        workers: how many there are.
        batched: how tasks run as one, if they do. Then as many may gather as are under way.
    """
    most = pace.pending * max(workers, _FEWEST)
    known = [service.seconds for service in services if service.seconds is not None]
    if not known:
        items = pace.ahead * workers
        per_second = items / PENDING_SECONDS
    else:
        mean = max(sum(known) / len(known), 1e-6)
        per_second = workers / mean
        least = (pace.ahead + 1) * batch_size(mean, workers, pace) * workers
        items = max(least, min(most, ceil(PENDING_SECONDS * per_second)))
    if batched is not None:
        items = max(most, 2 * pace.ahead * batched.size * workers)
    return Room(items, per_second)


def plan(
    waiting: int, loads: Sequence[int], service: float | None, pace: Pace = NEAR
) -> list[tuple[int, int]]:
    """Share *waiting* tasks among workers.

    Args:
        waiting: tasks that no worker has yet.
        loads: for each worker the messages that it already has.
        service: average seconds per task, ``None`` if unknown.
        pace: how full messages are, and how many are under way.

    Returns:
        pairs (index of the worker, tasks for it), one message each. An idle one comes before one
        that would only get a message ahead, and none takes more than its share. The last tasks,
        one for each worker, wait for whichever is idle first: none is stuck behind a long one then.
    """
    now = list(loads)
    messages: list[tuple[int, int]] = []
    size = batch_size(service, len(loads), pace)
    while waiting and now:
        load = min(now)
        if load >= pace.ahead or (load and waiting <= len(now)):
            break
        handle = now.index(load)
        count = min(size, ceil(waiting / now.count(load)))
        messages.append((handle, count))
        now[handle] += 1
        waiting -= count
    return messages


def plan_batched(
    waiting: int, loads: Sequence[int], size: int, rest_is_due: bool, pace: Pace = NEAR
) -> list[tuple[int, int]]:
    """Share *waiting* tasks among workers in messages of *size*.

    Args:
        waiting, loads: as for :func:`plan`.
        rest_is_due: whether tasks that fill no message go, too, but only to an idle worker: behind
            another message they may as well wait for more.
        pace: how many are under way.
    """
    now = list(loads)
    messages: list[tuple[int, int]] = []
    while waiting and now:
        load = min(now)
        count = min(size, waiting)
        if load >= pace.ahead or (count < size and (load or not rest_is_due)):
            break
        handle = now.index(load)
        messages.append((handle, count))
        now[handle] += 1
        waiting -= count
    return messages
