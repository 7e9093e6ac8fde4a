"""The parent's end of a lane's JoinableQueue. Putting never waits.

``JoinableQueue.put`` leaves pickling and writing to a feeder thread. While the crawl computes, that
thread waits up to 5 ms for the interpreter lock, for each message. So a message that finds room in
the pipe is written at once; only one that does not is left to the feeder, and those behind it.

What is done here to the queue is what its own ``put`` does (CPython 3.10 to 3.13).
"""

from __future__ import annotations

import contextlib
import fcntl
import termios
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.queues import JoinableQueue
from typing import Any

from scrapy_mpworkers.wire.messages import Batch, Order, encode, plain

#: Bytes that a pipe of a lane holds, where that can be set. Linux lets a user's pipes hold 64 MiB
#: together, and makes all further ones tiny (pipe(7)); those of 64 workers take half of it.
PIPE_BYTES = 1 << 18
#: A pipe holds pages, and the last page of a message may be almost empty: room for that.
_SLACK = 16 * 4096


class Orders:
    """Puts messages, and counts those that are open: put, with a task that is not settled."""

    def __init__(self, context: BaseContext) -> None:
        self.queue: JoinableQueue[Any] = context.JoinableQueue()
        # A feeder's EPIPE is how a worker's death looks from here: no traceback, no join at exit.
        # A subclass would do as well, but the queue is pickled for the worker, by class.
        self._internals._on_queue_feeder_error = _be_quiet
        self.queue.cancel_join_thread()
        self._capacity = widen(self.writer.fileno())
        self._fed = False  #: whether the feeder may still have something
        self.open_messages = 0

    @property
    def _internals(self) -> Any:
        return self.queue

    @property
    def writer(self) -> Connection:
        """Our end of its pipe."""
        return self._internals._writer  # type: ignore[no-any-return]

    def put(self, order: Order) -> None:
        """Put a message. The number of open ones is bounded, and so is what the feeder holds."""
        if not self.open_messages:
            self._fed = False  # all has arrived
        self.open_messages += 1
        message = None if self._fed else self._message(order)
        if message is None:
            self._fed = True
            self.queue.put_nowait(plain(order))
        else:
            self._write(message)

    def task_done(self) -> None:
        """One message is over: its last task is settled."""
        self.open_messages -= 1
        self.queue.task_done()

    def close_reader(self) -> None:
        """Close the worker's end, which this process has no use for."""
        self._internals._reader.close()

    def discard(self) -> None:
        """Release everything. Waits for nobody."""
        while self.open_messages:
            self.task_done()
        self.queue.join()  # never waits: it proves the books
        self.queue.close()
        if self._internals._thread is None:
            self.writer.close()

    def _message(self, order: Order) -> bytes | None:
        """*order* in bytes, if there is room for it in the pipe."""
        room = self._room()
        # Pickled only if it can fit: the feeder would pickle a large one again.
        if room <= 0 or (isinstance(order, Batch) and order.size > room):
            return None
        message = encode(order)
        return message if len(message) <= room else None

    def _room(self) -> int:
        if not self._capacity:
            return 0
        answer = fcntl.ioctl(self.writer.fileno(), termios.FIONREAD, bytes(4))
        return self._capacity - int.from_bytes(answer, "little") - _SLACK

    def _write(self, message: bytes) -> None:
        queue = self._internals
        queue._sem.acquire(block=False)
        with queue._cond:
            queue._unfinished_tasks.release()
        with contextlib.suppress(OSError):  # the worker is dead, and its exit handle will tell
            self.writer.send_bytes(message)


def widen(pipe: int) -> int:
    """Let a pipe hold more: large frames cross in fewer pieces, each of which costs a switch.

    Returns:
        the bytes that it holds now; 0 if that is not known.
    """
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return 0
    with contextlib.suppress(OSError):
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with contextlib.suppress(OSError):
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    return 0


def _be_quiet(error: Exception, order: Order) -> None:
    if not isinstance(error, OSError):
        raise error
