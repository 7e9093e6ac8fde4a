"""One worker as its pool sees it: how far it has come, which crawls it serves, why it was killed.

All but :meth:`ProcessHandle.start` and :meth:`ProcessHandle.undo` runs in the event loop's thread.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.task import Message
from scrapy_mpworkers.pool.worker_process import UNKNOWN, Activity, WorkerProcess
from scrapy_mpworkers.pool.worker_state import CrawlState, Departure, KilledFor, Phase, WorkerState
from scrapy_mpworkers.pool.workers import WorkerHandle
from scrapy_mpworkers.wire.messages import (
    GOES_ON,
    Boot,
    CloseCrawl,
    Command,
    Ending,
    OpenCrawl,
    PoisonPill,
)


@dataclass(slots=True)
class _Served:
    """A crawl of which a message has told the worker. The crawl may be dismissed in each state."""

    message: Message
    state: CrawlState = CrawlState.OPENING
    is_dismissed: bool = False


_NEVER = _Served(Message(0), CrawlState.CLOSED)


class ProcessHandle(WorkerHandle):
    """The worker of a slot, from before its start until it is discarded. A worker that it
    *replaces* is to retire as soon as this one is ready."""

    def __init__(
        self, name: str, slot: int, generation: int, replaces: ProcessHandle | None = None
    ) -> None:
        super().__init__(name, slot, generation)
        self.replaces = replaces
        self.state = WorkerState.STARTING
        self.departure = Departure.NONE
        self.killed_for = KilledFor.NONE
        self.asked_at = monotonic()  #: when it was last told to open consumers
        self.allowed_at: float | None = None  #: when it was allowed to open its first ones
        self.open_crawls: set[int] = set()  #: whose consumers are open
        self._served: dict[int, _Served] = {}  # all that it was ever told of
        self._process: WorkerProcess | None = None

    @property
    def title(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def process(self) -> WorkerProcess:
        assert self._process is not None
        return self._process

    def start(self, processes: Processes, siblings: Iterable[ProcessHandle]) -> None:
        """Start the worker, or raise and leave nothing behind. Blocks, so the starter calls it."""
        started = [one._process for one in siblings if one._process is not None]
        self._process = WorkerProcess(processes, self.name, started)
        self.pid = self._process.pid

    # What it is told

    def may_work_for(self, crawl: int) -> bool:
        is_here = self.departure in (Departure.NONE, Departure.RETIRING)
        return is_here and crawl in self.open_crawls

    def send(self, command: Command) -> None:
        self.process.commands.put(command)

    def tasks_settled(self, tasks: int, messages: int) -> None:
        self.settled += tasks
        for _ in range(messages):
            self.process.commands.task_done()

    @property
    def open_messages(self) -> int:
        return self.process.commands.open_messages

    def boot(self, setups: Sequence[OpenCrawl]) -> None:
        self.state = WorkerState.BOOTED
        self._will_open(setups)
        self.send(Boot(tuple(setups)))

    def open_crawl(self, setup: OpenCrawl) -> bool:
        """Tell it of a crawl that has joined; return whether that is the first time."""
        is_first = setup.crawl not in self._served
        self._will_open([setup])
        self.send(setup)
        return is_first

    def _will_open(self, setups: Sequence[OpenCrawl]) -> None:
        self.asked_at = monotonic()
        message = Message(len(setups))
        for setup in setups:
            self._served[setup.crawl] = _Served(message)
            self.known.update(definition.number for definition in setup.definitions)

    def dismiss(self, crawl: int, ending: Ending) -> None:
        self._served[crawl].is_dismissed = True
        self.send(CloseCrawl(crawl, ending))

    # What it tells

    def heard(self) -> None:
        self.heard_at = monotonic()

    def answered(self, crawl: int, state: CrawlState) -> None:
        """Note whether it has opened the consumers of a crawl."""
        served = self._served[crawl]
        served.state = state
        if state is CrawlState.OPEN:
            self.open_crawls.add(crawl)
        served.message.unsettled -= 1
        if not served.message.unsettled:
            self.process.commands.task_done()

    def closed(self, crawl: int) -> bool:
        """Note that a crawl's consumers are closed, and return whether it lives on for others."""
        served = self._served[crawl]
        was_dismissed, served.is_dismissed = served.is_dismissed, False
        served.state = CrawlState.CLOSED
        self.open_crawls.discard(crawl)
        if was_dismissed:
            self.process.commands.task_done()
        return was_dismissed

    # The crawls that it serves

    def may_open(self, crawl: int) -> bool:
        """Return whether it may be told of a crawl that has joined."""
        is_there = self.state is not WorkerState.STARTING and not self.is_closing
        served = self._served.get(crawl, _NEVER)
        return is_there and served.state is CrawlState.CLOSED and not served.is_dismissed

    def may_retry(self, crawl: int) -> None:
        """Let it be told again of a crawl that it has refused."""
        if self._served[crawl].state is CrawlState.REFUSED:
            self._served[crawl].state = CrawlState.CLOSED

    def has_to_open(self, crawl: int) -> bool:
        return self._served.get(crawl, _NEVER).state is CrawlState.OPENING

    def is_due(self, crawl: int) -> bool:
        """Return whether a crawl's consumers have yet to be opened, or to be closed."""
        return self.has_to_open(crawl) or self._served.get(crawl, _NEVER).is_dismissed

    def serves(self, crawl: int) -> bool:
        """Return whether a crawl's consumers are open, or are yet to be opened or closed."""
        return crawl in self.open_crawls or self.is_due(crawl)

    @property
    def is_opening(self) -> bool:
        """Return whether it has yet to open something that it was told to."""
        return any(map(self.has_to_open, self._served))

    # How far it has come

    @property
    def is_ready(self) -> bool:
        return self.state is WorkerState.READY

    @property
    def is_closing(self) -> bool:
        return self.departure is Departure.CLOSING

    @property
    def is_killed(self) -> bool:
        """Return whether the pool itself has killed this worker."""
        return self.killed_for is not KilledFor.NONE

    @property
    def is_waiting(self) -> bool:
        """Return whether it knows its first consumers, and must not build and open them yet."""
        is_booted = self.state is WorkerState.BOOTED
        return is_booted and self.allowed_at is None and not self.is_closing and not self.is_killed

    @property
    def is_opening_first(self) -> bool:
        return self.allowed_at is not None and not self.is_ready

    def allow_to_open(self) -> None:
        self.allowed_at = monotonic()
        self.process.start_lock.release()

    def become_ready(self) -> ProcessHandle | None:
        """Note that it has opened its first consumers, and return the worker that it replaces."""
        self.state = WorkerState.READY
        replaced, self.replaces = self.replaces, None
        return replaced

    def retire(self) -> None:
        self.departure = Departure.RETIRING

    def leave(self, has_parked: bool) -> None:
        """Have it end now that its replacement is there; if it *has_parked* tasks, behind those."""
        if has_parked or (self.departure is Departure.LEAVING and self.open_messages):
            self.departure = Departure.LEAVING
        elif not self.is_closing:
            self.close()

    def close(self, ending: Ending = GOES_ON) -> None:
        """Have it end behind what it was sent; at once, if it has nothing to close."""
        self.departure = Departure.CLOSING
        if self.allowed_at is None or (
            not self.is_ready and self.process.start_lock.acquire(block=False)
        ):
            # Nothing is open in it that would have to be closed; nobody waits for its boot.
            self.kill_for(KilledFor.STOP)
        else:
            self.send(PoisonPill(ending))

    # What it is at

    @property
    def phase(self) -> Phase:
        if self.is_killed:
            return Phase.DEAD
        if self.is_closing:
            return Phase.CLOSING
        if not self.is_ready:
            return Phase.OPENING if self.is_opening_first else Phase.STARTING
        if self.departure is not Departure.NONE:
            return Phase.RETIRING
        return Phase.BUSY if self.open_messages else Phase.IDLE

    def running(self) -> tuple[int | None, float]:
        activity = self.activity()
        return activity.task_id, activity.started

    def activity(self) -> Activity:
        """Return what it is at, or was when it died."""
        return UNKNOWN if self._process is None else self._process.activity()

    def was_at_consumers_of(self) -> int | None:
        """Return the crawl whose consumers a dead worker was opening or closing, or has opened or
        closed without being able to report it."""
        activity = self.activity()
        if activity.crawl is not None:
            return activity.crawl
        crawl = activity.begun_for
        return crawl if crawl is not None and self.is_due(crawl) else None

    def ask_for_stacks(self) -> None:
        if self._process is not None:
            self._process.ask_for_stacks()

    # Its end

    @property
    def is_hung(self) -> bool:
        """Return whether it was killed because it took too long to open consumers."""
        return self.killed_for is KilledFor.OPENING

    def kill_for(self, reason: KilledFor, signum: int = signal.SIGKILL) -> None:
        """End it for a reason of ours; the first reason stays."""
        if not self.is_killed:
            self.killed_for = reason
        self.kill(signum)

    def kill_overdue(self, task_id: int, stack: str) -> None:
        self.overdue, self.stack = task_id, stack
        self.kill_for(KilledFor.TIMEOUT)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.kill(signum)

    def undo(self) -> None:
        """End a worker that nobody waits for any more, and release all. Blocks for a moment."""
        self.kill_for(KilledFor.STOP)
        self.process.join()
        self.kill()
        self.process.reap(is_certain=True)
        self.process.discard()
