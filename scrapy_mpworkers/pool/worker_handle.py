"""One worker with its own JoinableQueue down, its own pipe up, and its dial.

Nothing here is shared with another lane: a worker killed at any moment, even while it holds its
queue's lock, takes nothing but its own lane with it. Only the parent puts into the queue and calls
``task_done``, so the queue's condition is never shared with a process that can die.
"""

from __future__ import annotations

import contextlib
import os
import signal
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any, NamedTuple

from scrapy_mpworkers.pool.channel import CommandWriter, widen
from scrapy_mpworkers.pool.forked import forked_main, inherited_from
from scrapy_mpworkers.pool.groups import signal_group
from scrapy_mpworkers.pool.shortages import make_lock
from scrapy_mpworkers.pool.start_methods import SERVER_GONE, Processes, take_for_dead
from scrapy_mpworkers.pool.task_queue import Message
from scrapy_mpworkers.wire.messages import Boot, CloseCrawl, Command, OpenCrawl
from scrapy_mpworkers.worker import main as worker_side
from scrapy_mpworkers.worker.channel import WorkerChannel

#: Seconds in which a killed worker ends, if it ever does.
_END_SECONDS = 5.0


class Turn(NamedTuple):
    """What a dial says: the running task, or the crawl whose consumers are being opened or closed
    (both ``None`` while idle), and the start of that, on a shared clock.

    ``begun`` and ``begun_for``: the last task or crawl, over or not.
    """

    task_id: int | None
    crawl: int | None
    started: float
    begun: int | None
    begun_for: int | None


class ProcessHandle:
    """Made, started and discarded by the starter thread; used by the loop's thread in between.

    Args:
        name: what the workers of its pool are called.
        place: which of the pool's places this lane fills, from 0.
        generation: how many lanes have filled it before.
        relieves: the lane that is to retire as soon as this one is ready.
    """

    def __init__(
        self, name: str, place: int, generation: int, relieves: ProcessHandle | None = None
    ) -> None:
        self.place = place
        self.relieves = relieves
        self.name = f"{name}-{place + 1}" + (f".{generation}" if generation else "")
        self.pid: int | None = None
        self.ready = False  #: it has opened what it was told to at its start
        self.retiring = False  #: its relief is being started; until then it works on
        self.closing = False  #: the pill is on its way; its end is no death
        self.is_booted = False  #: it has been told of the crawls that there are
        self.open_for: set[int] = set()  #: crawls whose consumers are open in it
        self.opening: dict[int, Message] = {}  #: crawls whose consumers it has yet to open
        self.killed = False  #: by us: its end charges nobody
        self.is_mute = False  #: it was killed because it does not take up its work, or report it
        self.overdue: int | None = None  #: the task for whose time it was killed
        self.hung = False  #: it was killed because it took too long to open consumers
        self.asked_at = monotonic()  #: when it was last told to open some
        self.turn_at: float | None = None  #: when it got its turn to open what it was told at first
        self.heard_at = 0.0  #: when its last report came, ``time.monotonic()``
        self.weighed_at = 0.0  #: when its memory was looked at, likewise
        self.settled = 0  #: tasks that it has settled
        self.known: set[int] = set()  #: numbers of the definitions that it has got
        self._dismissed: set[int] = set()  # crawls whose consumers it has yet to close
        self._refused: set[int] = set()  # those that it could not open, a moment ago
        self._told: set[int] = set()  # all crawls that it was ever told of
        self._gone = self._withdrawn = False
        self.is_sure_of_exit = False  #: whether its exit handle certainly tells of its end

    @property
    def title(self) -> str:
        """Its name in the texts of errors and warnings."""
        return f"{self.name} (pid {self.pid})"

    def start(self, processes: Processes, siblings: Iterable[ProcessHandle]) -> None:
        """Start the worker, or raise and leave nothing behind. Blocks while the fork server
        imports."""
        with ExitStack() as undo:
            # The worker's ends, closed at once: with a copy of them here, a feeder blocked in the
            # full pipe of a killed worker would never get its EPIPE, nor the watcher its EOF.
            with ExitStack() as given_away:
                ends = self._make_ends(processes.context, undo, given_away)
                arguments: tuple[Any, ...] = (ends, processes.conditions)
                target: Any = worker_side.main
                if processes.method == "fork":
                    arguments = (inherited_from(siblings, self), *arguments)
                    target = forked_main
                self.process = processes.process(target, arguments, self.name)
                self.process.start()
            undo.pop_all()  # from here on nothing can fail
        self.exit_handle = self._open_exit_handle(processes.method)
        self.pid = self.process.pid
        os.set_blocking(self.reports.fileno(), False)
        widen(self.reports.fileno())

    def _make_ends(
        self, context: BaseContext, undo: ExitStack, given_away: ExitStack
    ) -> WorkerChannel:
        # Ours until it is the worker's turn to build and open its consumers. From then on whoever
        # takes it first decides: the worker that it opens them, or we that it never will. (It is
        # the first semaphore of all, so that it is the one that cannot be made.)
        self.permit = make_lock(context)
        self.permit.acquire()
        self.orders = CommandWriter(context)
        undo.callback(self.orders.discard)
        given_away.callback(self.orders.close_reader)
        self.reports, reports_w = context.Pipe(duplex=False)
        undo.callback(self.reports.close)
        given_away.callback(reports_w.close)
        self.scoreboard = context.RawArray("d", [0.0, -1.0, 0.0, -1.0])
        return WorkerChannel(
            self.orders.queue, self.orders.arena, reports_w, self.scoreboard, self.permit
        )

    def _open_exit_handle(self, method: str) -> int:
        """An fd that becomes readable when the worker is dead.

        ``Process.sentinel`` is the end of a pipe, except under forkserver, and a process that the
        worker has forked keeps that pipe open. Linux has a handle for the process itself; a kernel
        before 5.3, a sandbox or a lack of descriptors refuses it.
        """
        self.is_sure_of_exit = True
        if method == "forkserver":
            return self.process.sentinel
        with contextlib.suppress(OSError, AttributeError):
            return os.pidfd_open(self.process.pid)  # type: ignore[arg-type]
        self.is_sure_of_exit = False
        return self.process.sentinel

    def send(self, order: Command) -> None:
        """Put a message into the queue. Never waits."""
        self.orders.put(order)

    def boot(self, setups: Sequence[OpenCrawl]) -> None:
        """Tell it of the crawls that there are."""
        self.is_booted = True
        self._will_open(setups)
        self.send(Boot(tuple(setups)))

    def set_up(self, setup: OpenCrawl) -> bool:
        """Tell it of a crawl that has joined. Whether it hears of it for the first time."""
        is_first = setup.crawl not in self._told
        self._will_open([setup])
        self.send(setup)
        return is_first

    def _will_open(self, setups: Sequence[OpenCrawl]) -> None:
        self.asked_at = monotonic()
        message = Message(len(setups))
        for setup in setups:
            self.opening[setup.crawl] = message
            self._told.add(setup.crawl)
            self.known.update(definition.number for definition in setup.definitions)

    def may_open(self, crawl: int) -> bool:
        """Whether it may be told of a crawl that has joined."""
        is_there = self.is_booted and not self.closing
        return is_there and not self.has_of(crawl) and crawl not in self._refused

    def opened(self, crawl: int) -> None:
        """It has opened the consumers of a crawl."""
        self.open_for.add(crawl)
        self._answered(crawl)

    def refused(self, crawl: int) -> None:
        """It could not open them."""
        self._refused.add(crawl)
        self._answered(crawl)

    def may_retry(self, crawl: int) -> None:
        """It may try again."""
        self._refused.discard(crawl)

    def _answered(self, crawl: int) -> None:
        message = self.opening.pop(crawl)
        message.unsettled -= 1
        if not message.unsettled:
            self.message_done()

    def dismiss(self, crawl: int) -> None:
        """Tell it that a crawl has ended."""
        self._dismissed.add(crawl)
        self.send(CloseCrawl(crawl))

    def closed(self, crawl: int) -> bool:
        """It has closed the consumers of a crawl: whether it lives on for others."""
        self.open_for.discard(crawl)
        if crawl not in self._dismissed:
            return False
        self._dismissed.remove(crawl)
        self.message_done()
        return True

    def has_of(self, crawl: int) -> bool:
        """Whether it has opened or is to open, or to close, the consumers of a crawl."""
        return crawl in self.open_for or crawl in self.opening or crawl in self._dismissed

    @property
    def is_empty(self) -> bool:
        """Whether no consumers are open in it."""
        return not self.open_for and not self.opening

    def message_done(self) -> None:
        """One message is over: its last task is settled."""
        self.orders.task_done()

    @property
    def awaits_turn(self) -> bool:
        """Whether it knows its first consumers, and must not build and open them yet."""
        return self.is_booted and self.turn_at is None and not self.closing and not self.killed

    @property
    def is_at_turn(self) -> bool:
        """Whether it is opening its first consumers."""
        return self.turn_at is not None and not self.ready

    def give_turn(self) -> None:
        """Let the worker open its consumers."""
        self.turn_at = monotonic()
        self.permit.release()

    def withdraw(self) -> bool:
        """Keep the worker from opening its consumers. Whether that came in time."""
        if not self._withdrawn:
            is_early = self.pid is None or self.turn_at is None
            self._withdrawn = is_early or self.permit.acquire(block=False)
        return self._withdrawn

    @property
    def has_work(self) -> bool:
        """Whether a message is open."""
        return self.orders.open_messages > 0

    @property
    def open_messages(self) -> int:
        """How many messages are open, of all crawls."""
        return self.orders.open_messages

    def turn(self) -> Turn | None:
        """The dial; ``None`` in the moment between two turns, and before it has any."""
        if not hasattr(self, "scoreboard"):
            return None
        written, task_id, started, crawl = self.scoreboard
        if written % 2 or self.scoreboard[0] != written:
            return None
        begun = None if task_id < 0 else int(task_id)
        begun_for = None if crawl < 0 else int(crawl)
        if started:
            return Turn(begun, begun_for, started, begun, begun_for)
        return Turn(None, None, started, begun, begun_for)

    def at_consumers_of(self) -> int | None:
        """The crawl whose consumers the worker opens or closes."""
        turn = self.turn()
        return None if turn is None else turn.crawl

    def was_at_consumers_of(self) -> int | None:
        """The same of a dead worker; it may have done so, and not have been able to report it."""
        turn = self.turn()
        if turn is None or turn.crawl is not None:
            return None if turn is None else turn.crawl
        crawl = turn.begun_for
        return crawl if crawl in self.opening or crawl in self._dismissed else None

    def running(self) -> int | None:
        """The task that the worker runs, or was running when it died."""
        turn = self.turn()
        return None if turn is None else turn.task_id

    def begun(self) -> int | None:
        """The last task that the worker has begun. Until its outcome is here, it and those before
        it may be to blame for the worker's end, unless that was for a reason of ours."""
        turn = self.turn()
        is_ours = self.killed and not self.is_mute
        return None if turn is None or is_ours else turn.begun

    def kill_for_good(self) -> None:
        """End it, for a reason of ours: nobody is charged."""
        self.killed = True
        self.kill()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal the worker and every process that it started."""
        if self.pid is not None and not self._gone:
            # Without its fork server it may live on, whatever its handle says.
            has_ended = self.process.exitcode not in (None, SERVER_GONE)
            signal_group(self.pid, signum, has_ended)

    @property
    def has_ended(self) -> bool:
        """Whether somebody can tell of its exit, or of its fork server's."""
        return self.process.exitcode is not None

    def reap(self, is_certain: bool = False) -> bool:
        """Collect a worker whose exit handle has fired, and end what it left behind.

        Args:
            is_certain: whether it is dead by now even if nobody tells of its end.

        Returns:
            whether it is dead; if not, it is killed, and to be reaped again soon.
        """
        self.kill()
        if is_certain and not self.has_ended:
            take_for_dead(self.process)
        if not self.has_ended:
            return False
        if self.exit_handle != self.process.sentinel:
            os.close(self.exit_handle)
        self._gone = True
        return True

    def undo(self) -> None:
        """End a worker that nobody waits for any more, and release all. Blocks for a moment."""
        self.kill_for_good()
        self.process.join(_END_SECONDS)
        self.reap(is_certain=True)
        self.discard()

    def discard(self) -> None:
        """Release queue, pipe and process, and leave nothing behind."""
        self.orders.discard()
        self.reports.close()
        self.process.close()


def while_it_lives(
    handle: ProcessHandle, function: Callable[[ProcessHandle], None]
) -> Callable[[], None]:
    """A call for a timer, which must not keep a discarded lane with its queue in memory."""
    alive = weakref.ref(handle)

    def call() -> None:
        handle = alive()
        if handle is not None:
            function(handle)

    return call
