"""Passes things from one thread to another."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Queues things for one reader.

    Not :class:`queue.SimpleQueue`: gevent's ``monkey.patch_all`` (tried: 26.9) puts a class in its
    place that works in one thread only, and ends the others' with ``LoopExit``.
    """

    def __init__(self) -> None:
        self._things: deque[T] = deque()
        self._count = threading.Semaphore(0)

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: T) -> None:
        self._things.append(thing)
        self._count.release()

    def get(self) -> T:
        self._count.acquire()
        return self._things.popleft()
