"""PARENT SIDE of the pool's tests: a real pool, and a loop that is the test's own thread.

Every wait has a deadline. When it passes, the tracebacks of all threads and the processes that
are there go to stderr, and the test fails instead of hanging.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import heapq
import itertools
import os
import pickle
import random
import select
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from scrapy_mpworkers.errors import MPWorkersError, PoolBroken
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.forkserver import ServerSpec, servers
from scrapy_mpworkers.pool.interface import DeadLettered, PoolEvents, PoolOptions
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.worker_group import LocalWorkerGroup
from scrapy_mpworkers.wire.messages import (
    LARGE,
    Ending,
    Large,
    OpenCrawl,
    Outcome,
    TaskStatus,
    WorkerConfig,
)

from . import consumers, work
from .consumers import Behaviour

METHODS = ("forkserver", "spawn", "fork")
FULL = pytest.mark.full
DEADLINE = 15.0  # seconds; only a failing test ever waits so long

#: What every worker needs, as a crawl has its fork server import it.
PRELOAD = ("scrapy_mpworkers.worker.main", consumers.__name__, work.__name__)


#: Whose turn it is in the plain run, by price: a spawned worker imports everything again.
IN_TURN = ("fork", "forkserver", "spawn", *("fork", "fork", "forkserver"), *("fork", "fork"))
_turns: defaultdict[str, Iterator[str]] = defaultdict(lambda: itertools.cycle(IN_TURN))


def rotated(plain: bool = True) -> Callable[[Callable[..., None]], Any]:
    """Parametrizes *method*: in a plain run the one whose turn it is among the module's tests, all
    of them in the full. If not *plain*, only the full run has the test."""

    def mark(test: Callable[..., None]) -> Any:
        if not plain:
            return FULL(pytest.mark.parametrize("method", METHODS)(test))
        drawn = next(_turns[test.__module__])
        return quick(drawn, *(method for method in METHODS if method != drawn))(test)

    return mark


def quick(first: str, *others: str) -> pytest.MarkDecorator:
    """Parametrizes *method*: the first one in a plain run, all of them in the full."""
    slower = [pytest.param(method, marks=FULL) for method in others]
    return pytest.mark.parametrize("method", [first, *slower])


class Unawaited:
    """The future of a task, where nobody waits for one: events tell of its outcome."""

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def done(self) -> bool:
        return False

    def set_result(self, value: Any, /) -> None:
        raise NotImplementedError


class Kept(Unawaited):
    """A future whose result somebody looks at."""

    results: tuple[Any, ...] = ()

    def done(self) -> bool:
        return bool(self.results)

    def set_result(self, value: Any, /) -> None:
        assert not self.results
        self.results = (value,)


class Events(PoolEvents):
    """Remembers what the pool told."""

    def __init__(self) -> None:
        self.outcomes: dict[int, list[Outcome | DeadLettered]] = {}
        self.parts: list[tuple[Task, Any]] = []
        self.firsts: list[bool] = []
        self.boot_failures: list[bytes] = []
        self.closed_by: list[tuple[str, bytes | None, bool]] = []
        self.errors: list[PoolBroken] = []

    def came(self, task: Task, outcome: Outcome) -> None:
        self.parts.append((task, pickle.loads(outcome.result)))

    def settled(self, task: Task, outcome: Outcome | DeadLettered) -> None:
        self.outcomes[task.id].append(outcome)

    def opened(self, effects: bytes | None, is_first: bool) -> None:
        self.firsts.append(is_first)

    def boot_failed(self, worker: str, failure: bytes) -> None:
        self.boot_failures.append(failure)

    def closed(
        self, worker: str, effects: bytes | None, failure: bytes | None, is_first: bool
    ) -> None:
        self.closed_by.append((worker, failure, is_first))

    def broken(self, error: PoolBroken) -> None:
        self.errors.append(error)


class Calls:
    """The loop: functions to run, timers, readers, and a pipe that wakes up whoever waits."""

    create_future: Callable[[], Unawaited] = Unawaited

    def __init__(self) -> None:
        self._functions: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._readers: dict[int, Callable[[], None]] = {}
        self._count = itertools.count()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)

    def fileno(self) -> int:
        return self._wake_r

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._count), function))

    def add_reader(self, fd: int, function: Callable[[], None]) -> None:
        assert fd not in self._readers
        self._readers[fd] = function

    def remove_reader(self, fd: int) -> None:
        del self._readers[fd]

    def wait(self, seconds: float, *others: Any) -> None:
        """Until there is something to run, or to hear from the *others*."""
        if self._timers:
            seconds = min(seconds, self._timers[0][0] - time.monotonic())
        select.select([self, *others, *self._readers], [], [], max(seconds, 0))

    def call_from_thread(self, function: Callable[[], None]) -> None:
        self._functions.append(function)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"\0")

    call_soon = call_from_thread

    def run(self) -> None:
        """All that are there."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        for fd in select.select(list(self._readers), [], [], 0)[0]:
            if fd in self._readers:
                self._readers[fd]()
        while self._functions:
            self._functions.popleft()()

    @property
    def has_function(self) -> bool:
        return bool(self._functions)

    def close(self) -> None:
        os.close(self._wake_r)
        os.close(self._wake_w)


class NamedPipe:
    """Open for both directions here, so that neither side ever waits for the other to open it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""

    def fileno(self) -> int:
        return self._fd

    def lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._fd, 1 << 16)
        *whole, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in whole]

    def open_for(self, readers: int = 1) -> None:
        os.write(self._fd, b"." * readers)

    def close(self) -> None:
        os.close(self._fd)


class Bench:
    """A pool under test."""

    def __init__(
        self,
        folder: Path,
        method: str,
        workers: int = 2,
        redeliver_times: int = 2,
        intensity: int = 12,
        behaviour: Callable[[Bench], Behaviour] = lambda bench: Behaviour(),
        preload: Sequence[str] = PRELOAD,
        config: WorkerConfig | None = None,
        beside: Bench | None = None,
        **limits: Any,
    ) -> None:
        self.calls = beside.calls if beside else Calls()
        self.events = Events()
        self.said: list[str] = []
        self.voice = NamedPipe(folder / f"voice-{id(self)}")
        self.gate = NamedPipe(folder / f"gate-{id(self)}")
        self.settled = self.events.outcomes
        self.blobs: dict[int, bytes] = {}
        options = PoolOptions(workers, redeliver_times, intensity, 30.0, **limits)
        wanted = ServerSpec((), tuple(preload), (), config or WorkerConfig(0, (), None))
        self.processes = Processes(method, wanted)
        self.manager = (
            beside.manager if beside else LocalWorkerGroup(options, self.processes, self.calls)
        )
        payload = pickle.dumps(behaviour(self))
        self.pool = PoolExecutor(
            lambda: self.manager,
            options,
            lambda crawl: OpenCrawl(crawl, (), consumers.__name__, payload),
            self.blobs,
            self.events,
            self.calls,
        )
        self.workers = workers
        self._is_guest = beside is not None
        self._stopped = self._stopping = self._started = False

    # Driving it

    def start(self) -> Bench:
        self.begin()
        return self.until_manned()

    def begin(self) -> Bench:
        self._started = True
        self.pool.start()
        return self

    def join(self) -> Bench:
        """Start in the pool of another bench."""
        self.begin()
        return self.until(
            lambda: len(self.events.firsts) == self.workers, "every worker has opened for it"
        )

    def submit(self, *works: Any, needs: tuple[int, ...] = (), key: Any = None) -> list[int]:
        ids = []
        for one in works:
            data = pickle.dumps(one)
            frame = Large([data]) if len(data) >= LARGE else data  # as the codec has it
            task = self.pool.submit(0, frame, needs, (), None, len(frame), key)
            self.settled[task.id] = []
            ids.append(task.id)
        return ids

    def run(self, *works: Any) -> list[Any]:
        """The results of *works*, when all of them are settled."""
        ids = self.submit(*works)
        self.until_settled(ids)
        return [self.result(task_id) for task_id in ids]

    def until(self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> Bench:
        """Run the loop until *condition* holds."""
        deadline = time.monotonic() + seconds
        while True:
            self.calls.run()
            self.said += self.voice.lines()
            if self._started and random.random() < 0.1:
                self.assert_true_picture()
            if condition():
                return self
            left = deadline - time.monotonic()
            if left <= 0 and not condition():
                self.fail(f"waited {seconds:g} s for: {what}")
            self.calls.wait(left, self.voice)

    def wait_seconds(self, seconds: float) -> Bench:
        """For what must *not* happen meanwhile, or may happen at any moment."""
        end = time.monotonic() + seconds
        return self.until(lambda: time.monotonic() >= end, "time passes", seconds + 0.001)

    def until_manned(self) -> Bench:
        return self.until(lambda: len(self.pids) == self.workers, "every lane has a ready worker")

    def until_part(self, number: int) -> Task:
        """The task that has given the part of this number, from 1, of all that have come."""
        parts = self.events.parts
        self.until(lambda: len(parts) >= number, f"part {number} comes")
        return parts[number - 1][0]

    def until_settled(self, ids: Iterable[int] | None = None) -> Bench:
        wanted = list(self.settled if ids is None else ids)
        return self.until(lambda: all(self.settled[n] for n in wanted), "the tasks are settled")

    def until_said(self, text: str, times: int = 1) -> list[int]:
        """The numbers that workers have said with *text*."""

        def numbers() -> list[int]:
            words = [line.split() for line in self.said]
            return [int(number) for word, number in words if word == text]

        self.until(lambda: len(numbers()) >= times, f"a worker says {text}")
        return numbers()

    def stop(
        self,
        timeout: float = DEADLINE,
        after_request: Callable[[], Any] = lambda: None,
        reason: str = "finished",
    ) -> Bench:
        done: list[bool] = []
        self._stopping = True
        self.pool.stop(timeout, lambda: done.append(True), Ending(reason, b""))
        after_request()
        self.until(lambda: bool(done), "the pool has stopped", 2 * DEADLINE)
        self._stopped = True
        return self

    def close(self) -> None:
        if self._started and not self._stopped:
            if self.pool.pending or self.processes.method != "forkserver":
                self.pool.kill()
            # (Workers of a killed server are orphans, and whoever inherits those may take seconds
            # to collect them: process 1 in a container.)
            self.stop(timeout=1.0)
        servers.close()
        for pipe in (self.voice, self.gate, *([] if self._is_guest else [self.calls])):
            pipe.close()

    def fail(self, message: str) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        lines = [f"{p.pid} {p.status()} {p.cmdline()[:3]}" for p in children()]
        pytest.fail("\n".join([message, f"said: {self.said}", *lines]), pytrace=True)

    def stacks(self, timeout: float = DEADLINE) -> dict[str, str]:
        """Where its workers are."""
        self.calls.create_future = Kept
        future: Any = self.pool.stacks(timeout)
        self.calls.create_future = Unawaited
        self.until(future.done, "the workers have told where they are", 2 * timeout)
        (stacks,) = future.results
        return stacks  # type: ignore[no-any-return]

    # Work for its workers

    def say_and_wait(self, text: str = "running") -> work.SayAndWait:
        return work.SayAndWait(self.voice.path, self.gate.path, text)

    def in_parts(self, *steps: Any) -> work.Parts:
        return work.Parts(self.voice.path, steps)

    def say(self, text: str) -> work.Say:
        return work.Say(self.voice.path, text)

    # Looking at it

    @property
    def metrics(self) -> Any:
        return self.pool.metrics

    @property
    def handles(self) -> list[Any]:
        return [handle for handle in self.manager.handles if handle.is_ready]

    @property
    def pids(self) -> list[int]:
        return [handle.pid for handle in self.handles]

    @property
    def server(self) -> psutil.Process:
        (server,) = [p for p in children() if p.ppid() == os.getpid() and is_fork_server(p)]
        return server

    def result(self, task_id: int) -> Any:
        (outcome,) = self.settled[task_id]
        if isinstance(outcome, DeadLettered):
            return outcome.error
        return pickle.loads(outcome.result)

    def error(self, task_id: int) -> MPWorkersError:
        (outcome,) = self.settled[task_id]
        assert isinstance(outcome, DeadLettered), outcome
        return outcome.error

    def assert_true_picture(self) -> None:
        """What the pool shows agrees with its books, at any moment."""
        counts = self.metrics.items
        if not self._stopping:
            settled = sum(counts.settled) + counts.cancelled
            assert counts.submitted == settled + self.pool.pending
        handles = {handle.name: handle for handle in self.manager.handles}
        views = self.pool.look()
        assert [view.name for view in views] == list(handles)
        for view in views:
            assert view.settled == handles[view.name].settled
            if view.task is not None:
                assert view.task in list(self.pool.leases(handles[view.name]))
                assert 0 < view.since <= time.monotonic()

    def assert_books(self) -> None:
        """Every task was settled exactly once, and the figures say the same."""
        assert {task_id: len(heard) for task_id, heard in self.settled.items()} == dict.fromkeys(
            self.settled, 1
        )
        statuses = Counter(
            TaskStatus.DEAD_LETTERED
            if isinstance(heard[0], DeadLettered)
            else TaskStatus(heard[0].status)
            for heard in self.settled.values()
        )
        assert self.metrics.items.settled == [statuses[status] for status in TaskStatus]
        assert self.metrics.items.submitted == len(self.settled)
        assert self.pool.pending == 0


def children() -> list[psutil.Process]:
    """Our descendants, without multiprocessing's resource tracker, which stays for good."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" not in str(process.cmdline()):
                found.append(process)
    return found


def is_fork_server(process: psutil.Process) -> bool:
    """Whether a process is a fork server of ours, which has its title as soon as it runs."""
    command = " ".join(process.cmdline())
    return "mpworkers: fork server" in command or "worker.fork_server" in command


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal."""
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def await_end(pids: Iterable[int], seconds: float = DEADLINE) -> None:
    """Wait for the end of processes that need not be our children. A zombie has ended."""
    left = list(pids)
    assert comes_true(lambda: not any(map(is_alive, left)), seconds), [
        f"{pid}: {psutil.Process(pid).cmdline()}" for pid in left if is_alive(pid)
    ]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def comes_true(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """For what has no event: the last breath of a thread, a count of file descriptors.

    Looks again and again, and is over as soon as it holds; only a failure takes all the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def own_threads() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [n for n in names if n.startswith("mpworkers-")]


def open_fds() -> dict[str, str]:
    """What is open, by descriptor (on Linux with what it leads to)."""
    gc.collect()
    found = {}
    for fd in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(fd))
            found[fd] = os.readlink(f"/dev/fd/{fd}") if sys.platform == "linux" else ""
    # libffi opens itself for the first callback of ctypes, and stays open (3.5.2).
    return {fd: path for fd, path in found.items() if "/libffi." not in path}
