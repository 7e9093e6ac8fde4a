"""The parent: killed, it leaves no worker; hard-worked, it leaks nothing; idle, it sleeps."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import signal
import sys
import threading
from operator import le
from pathlib import Path
from time import monotonic

import psutil
import pytest
from pool.harness import METHODS, NamedPipe, await_end, comes_true, open_fds, rotated
from pool.work import Square

#: Rounds, in which the parent is killed.
ROUNDS = [10, 100]
BUSY = "bench.submit(*[saboteurs.HoldsTheInterpreter(said)] * 2)\n"
IDLE = "for pid in bench.pids: print(f'idle {pid}', file=open(said, 'w'))\n"
WAIT = "bench.until(lambda: False, 'never', seconds=60)"


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this death")
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("what", ["busy in C code", "idle"])
def test_no_worker_outlives_a_killed_parent_by_a_second(tmp_path, start_script, what, rounds):
    voice = NamedPipe(tmp_path / "voice")
    took = []
    for n in range(rounds):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        script = start_script(
            (BUSY if what != "idle" else IDLE) + WAIT, METHODS[n % 3], voice.path, folder
        )
        pids = [int(pid) for pid in said(voice, 2)]

        begun = monotonic()
        script.kill()
        await_end(pids)
        took.append(monotonic() - begun)
        script.communicate()
    voice.close()

    assert max(took) < 1.0


def said(voice, count):
    lines: list[str] = []
    while len(lines) < count:
        ready, _, _ = select.select([voice], [], [], 20)
        assert ready, f"only {lines} was said"
        lines += voice.lines()
    return [line.split()[1] for line in lines]


@pytest.mark.parametrize(
    ("method", "restarts"),
    [
        ("fork", 20),
        *(pytest.param(method, 20, marks=pytest.mark.full) for method in ("forkserver", "spawn")),
        *(pytest.param(method, 300, marks=pytest.mark.full) for method in METHODS),
    ],
)
def test_restarts_leave_nothing_in_the_parent(make_bench, method, restarts):
    bench = make_bench(method).start()
    seen = set()

    def restart(times):
        for _ in range(times):
            deaths = sum(bench.metrics.deaths.values())
            os.kill(bench.pids[0], signal.SIGKILL)
            bench.until(
                lambda: sum(bench.metrics.deaths.values()) > deaths,  # noqa: B023 - called at once
                "the death is known",
            )
            bench.until_manned()
            seen.update(semaphores())
            assert bench.run(Square(2)) == [4]

    restart(5)  # what is made at the first time stays
    before, memory = holdings(), psutil.Process().memory_info().rss
    restart(restarts)

    assert comes_true(lambda: all(map(le, holdings(), before))), (before, holdings())
    assert comes_true(lambda: not [one for one in seen - semaphores() if one.exists()])
    assert psutil.Process().memory_info().rss - memory < 4 << 20
    bench.stop().assert_books()


def holdings() -> tuple[int, int, int]:
    """How many threads, file descriptors and semaphores this process has."""
    gc.collect()
    return threading.active_count(), len(open_fds()), len(semaphores())


def semaphores() -> set[Path]:
    """The files of this process's semaphores, where Linux tells of them. (Those of the tests that
    run beside this one are in the same folder.)"""
    maps = Path("/proc/self/maps")
    found = re.findall(r"/dev/shm/sem\.mp-\S+", maps.read_text()) if maps.exists() else []
    return set(map(Path, found))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the wake-ups of each thread")
@pytest.mark.parametrize("seconds", [1.5, pytest.param(10.0, marks=pytest.mark.full)])
@rotated()
def test_idle_pool_sleeps(make_bench, method, seconds):
    bench = make_bench(method).start()
    bench.run(*(Square(n) for n in range(20)))
    processes = [psutil.Process(pid) for pid in bench.pids]
    threads = pool_threads()
    bench.wait_seconds(0.3)  # the last flush, the last breath of a thread

    before, worked = wake_ups(threads), cpu(processes)
    bench.wait_seconds(seconds)

    # The thread that notices a suspended machine ends when it has nothing to do for some seconds.
    woken = [count - before[thread] for thread, count in wake_ups(threads).items()]
    assert woken != []
    assert sum(woken) < 5 * seconds
    assert cpu(processes) - worked <= 0.02
    assert bench.run(Square(3)) == [9]


def pool_threads() -> list[int]:
    return [
        thread.native_id
        for thread in threading.enumerate()
        if thread.name.startswith("mpworkers-") and thread.native_id
    ]


def wake_ups(threads: list[int]) -> dict[int, int]:
    """Return how often each thread has been woken; without those that have ended."""
    counts = {}
    for thread in threads:
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/self/task/{thread}/status").read_text()
            lines = [line for line in status.splitlines() if "ctxt_switches" in line]
            counts[thread] = sum(int(line.split()[1]) for line in lines)
    return counts


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
