"""A start happens as a whole or not at all, and the fork server survives one that fails."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, spawn
from typing import Any

import psutil
import pytest

from scrapy_mpworkers.pool.forkserver import ForkServer, ServerSpec, servers
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.wire.messages import WorkerConfig

from . import unforkable
from .harness import DEADLINE, PRELOAD, children, comes_true, open_fds, rotated
from .work import TrackersOfItsOwn, UsesForkServer

WANTED = ServerSpec((), PRELOAD, (), WorkerConfig(0, (), None))
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and prlimit are Linux's")


@pytest.fixture
def make_processes(kept_by_multiprocessing):
    """Makes processes by a method. Afterwards nothing may be left of them."""
    made = []

    def make(method: str, wanted: ServerSpec = WANTED) -> Processes:
        made.append(Processes(method, wanted))
        made[-1].take_server()
        return made[-1]

    yield make

    for process in multiprocessing.active_children():  # those of a test that has failed
        process.kill()
        process.join()
    for processes in made:
        processes.close()
    servers.close()
    assert comes_true(lambda: not children()), children()


def start(processes: Processes, *args: Any) -> Any:
    return processes.start(os._exit, args or (0,), "starts")


def the_server() -> psutil.Process:
    (server,) = filter(is_own_child, children())
    return server


def is_own_child(process: psutil.Process) -> bool:
    try:
        return bool(process.ppid() == os.getpid())
    except psutil.NoSuchProcess:  # a worker of the server, which may end meanwhile
        return False


def exit_code_of(process: Any) -> int | None:
    process.join(DEADLINE)
    code = process.exitcode
    process.close()
    return code


@contextlib.contextmanager
def descriptors(spare: int) -> Iterator[None]:
    """Let only so many be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, open_fds()))
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    while fillers[-1] < highest:  # a limit is one on the number, and there may be gaps
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


@rotated()
def test_start_that_lacks_descriptors_leaves_none(make_processes, method):
    processes = make_processes(method)
    if method == "forkserver":
        assert exit_code_of(start(processes)) == 0  # its server is there
    before, outcomes = open_fds(), []

    # One more in each round. Under forkserver a few can be done without.
    while outcomes.count(0) < (4 if method == "forkserver" else 1):
        with descriptors(len(outcomes)):
            try:
                process = start(processes)
            except OSError as error:
                outcomes.append(error.errno)
            else:
                outcomes.append(0)
        if not outcomes[-1]:
            assert exit_code_of(process) is not None
        assert open_fds() == before, outcomes

    assert set(outcomes) == {errno.EMFILE, 0}


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_main_module_may_have_no_spec(make_processes, monkeypatch, method):
    """That of ``python -m pdb`` has none before CPython 3.13."""
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__spec__")

    process = start(make_processes(method))

    assert exit_code_of(process) == 0
    assert not hasattr(main, "__spec__")


@pytest.mark.full
def test_server_that_lacks_descriptors_at_its_launch_leaves_none(kept_by_multiprocessing):
    server, before, failures = ForkServer(WANTED), open_fds(), 0

    while not server.is_alive:
        assert open_fds() == before
        with descriptors(failures), contextlib.suppress(OSError):
            failures += 1
            server.launch()

    assert failures > 3
    server.kill()
    server.close()
    assert open_fds() == before


def test_server_that_may_not_fork_says_so_and_lives_on(make_processes, monkeypatch, tmp_path):
    file = tmp_path / "no_fork"
    monkeypatch.setenv("NO_FORK_WHILE", str(file))
    processes = make_processes(
        "forkserver", WANTED._replace(preload=(*PRELOAD, unforkable.__name__))
    )
    healthy = processes.start(signal.pause, (), "healthy")
    before = open_fds()

    file.touch()
    for _ in range(2):
        with pytest.raises(BlockingIOError, match="the fork server cannot fork"):
            start(processes)
    file.unlink()

    assert open_fds() == before
    assert healthy.is_alive()
    assert exit_code_of(start(processes, 4)) == 4
    os.kill(healthy.pid, signal.SIGKILL)
    assert exit_code_of(healthy) == -signal.SIGKILL


@linux
def test_server_that_can_take_no_descriptors_fails_the_start_and_lives_on(make_processes):
    processes = make_processes("forkserver")
    first = processes.start(signal.pause, (), "first")
    server = the_server()
    limit = server.rlimit(psutil.RLIMIT_NOFILE)

    server.rlimit(psutil.RLIMIT_NOFILE, (3, limit[1]))
    with pytest.raises(EOFError, match="the fork server"):
        start(processes)
    server.rlimit(psutil.RLIMIT_NOFILE, limit)

    assert exit_code_of(start(processes, 3)) == 3
    os.kill(first.pid, signal.SIGKILL)
    assert exit_code_of(first) == -signal.SIGKILL


def test_spawned_process_that_dies_before_it_listens_fails_the_start(make_processes, monkeypatch):
    processes = make_processes("spawn")
    monkeypatch.setattr(spawn, "_python_exe", b"/bin/false")
    before = open_fds()

    with pytest.raises(BrokenPipeError):
        start(processes, bytes(10_000_000))  # more than a pipe holds

    assert open_fds() == before
    assert children() == []


def test_server_hears_of_deaths_though_its_parent_blocks_their_signal(make_processes):
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        processes = make_processes("forkserver")
        process = start(processes, 9)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    assert exit_code_of(process) == 9
    server = the_server()
    assert comes_true(lambda: server.children() == [])  # collected


@linux
def test_nobody_else_can_connect_to_a_server(make_processes):
    processes = make_processes("forkserver")
    process = start(processes)
    ours = {name[8:-1] for name in sockets_of(os.getpid())}
    theirs = {name[8:-1] for name in sockets_of(the_server().pid)}

    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table][1:]
    named = {row[6] for row in rows if row[7:]}
    listening = {row[6] for row in rows if int(row[3], 16) & 0x10000}

    assert len(theirs & {row[6] for row in rows}) >= 1
    assert not theirs & (named | listening)
    assert not ours & listening
    assert exit_code_of(process) == 0


def sockets_of(pid: int) -> list[str]:
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [name for name in names if name.startswith("socket:")]


@pytest.fixture
def users_fork_server() -> Iterator[None]:
    """What CPython starts where a pipeline in Scrapy's process uses a fork server."""
    process = multiprocessing.get_context("forkserver").Process(target=os.getpid)
    process.start()
    process.join()
    process.close()
    yield
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    os.kill(server._forkserver_pid, signal.SIGKILL)  # a worker may keep it, if this test fails
    server._stop()


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_pipelines_may_use_a_fork_server_though_scrapys_process_has_one(
    make_bench, method, users_fork_server
):
    bench = make_bench(method, workers=1).start()

    assert bench.run(UsesForkServer()) == [0]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_worker_has_its_parents_resource_tracker(make_bench, method):
    bench = make_bench(method, workers=1).start()

    assert bench.run(TrackersOfItsOwn()) == [0]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_forked_process_may_use_multiprocessing_though_its_parent_has_workers(
    make_processes, method
):
    worker = make_processes(method).start(signal.pause, (), "worker")

    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            process = multiprocessing.get_context("fork").Process(target=int)
            process.start()
            process.join()
            os._exit(process.exitcode == 0 and multiprocessing.active_children() == [])
        os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert worker.is_alive()
    os.kill(worker.pid, signal.SIGKILL)
    assert exit_code_of(worker) == -signal.SIGKILL
