"""CPU and memory of processes: what is measured, how often, and what that may cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import psutil
import pytest

from scrapy_mpworkers.status import processes, usage
from scrapy_mpworkers.status.processes import Processes
from scrapy_mpworkers.status.usage import Usage, pss_of, usage_of

GONE = 2**22 + 1  #: a pid that no process can have
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, for a test to move."""
    now = [1000.0]
    monkeypatch.setattr(processes, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def odd() -> Iterator[int]:
    """A process whose name has what separates the fields that the kernel tells."""
    wait = "import sys; open('/proc/self/comm', 'w').write('a) S (1 2'); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", wait], **pipes) as child:  # type: ignore[call-overload]
        child.stdout.readline()
        yield child.pid
        child.communicate(b"\n")


@needs_proc
def test_usage_is_what_psutil_tells(odd: int) -> None:
    process = psutil.Process(odd)

    used = usage_of(odd)

    times = process.cpu_times()
    assert used.cpu == pytest.approx(times.user + times.system, abs=0.02)
    assert used.worked >= used.cpu
    assert used.rss_bytes == pytest.approx(process.memory_info().rss, rel=0.05)
    assert pss_of(odd) == pytest.approx(process.memory_full_info().pss, rel=0.05)


@needs_proc
def test_without_proc_usage_is_the_same(odd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = usage_of(odd)
    monkeypatch.setattr(sys, "platform", "darwin")

    used = usage_of(odd)

    assert used.cpu == pytest.approx(read.cpu, abs=0.02)
    assert used.worked == pytest.approx(read.worked, abs=0.5)
    assert used.rss_bytes == pytest.approx(read.rss_bytes, rel=0.05)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_process_that_is_gone_is_an_os_error(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)

    with pytest.raises(OSError, match=str(GONE)):
        usage_of(GONE)
    assert pss_of(GONE) is None


def test_percent_is_of_the_time_since_the_sample_before(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = iter([10.0, 12.0])
    monkeypatch.setattr(processes, "usage_of", lambda pid: Usage(next(used), 0.0, 7))
    seen = Processes()

    first = seen.look([1])[1]
    clock[0] += 4.9
    still = seen.look([1])[1]
    clock[0] += 3.1
    second = seen.look([1])[1]

    assert (first.cpu_percent, first.rss_bytes) == (None, 7)
    assert still is first
    assert second.cpu_percent == pytest.approx(25.0)


def test_each_process_has_its_turn_and_one_that_is_gone_is_forgotten(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "usage_of", lambda pid: Usage(0.0, 0.0, pid))
    seen = Processes()

    counts = []
    for _ in range(3):
        counts.append(len(seen.look(range(1, 20))))
        clock[0] += 1

    assert counts == [8, 16, 19]
    assert set(seen.look([3, 4])) == {3, 4}


def test_proportional_sizes_are_measured_of_one_after_the_other_and_seldom(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(processes, "usage_of", lambda pid: Usage(0.0, 0.0, pid))
    monkeypatch.setattr(processes, "pss_of", lambda pid: measured.append(pid) or pid)
    ticks = count()  # each measurement takes 1 ms
    monkeypatch.setattr(processes, "thread_time", lambda: next(ticks) / 1000)
    seen = Processes()

    for _ in range(20):
        samples = seen.look([1, 2, 3], with_pss=True)
        clock[0] += 1.0
    seen.look([1, 2, 3])

    assert len(measured) == 4
    assert set(measured[:3]) == {1, 2, 3}
    assert [samples[pid].pss_bytes for pid in (1, 2, 3)] == [1, 2, 3]


def test_a_sample_is_of_the_process_that_was_asked_for() -> None:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass

    sample = Processes().look([os.getpid()])[os.getpid()]

    assert sample.rss_bytes is not None
    assert sample.cpu is not None
    assert sample.cpu >= 0.05
    assert usage.pss_of(os.getpid()) is None or sample.rss_bytes > 1 << 20
