"""The figures behind the advice: who worked, and who waited."""

from __future__ import annotations

import os
import time
from time import monotonic, thread_time
from types import SimpleNamespace
from typing import Any

import pytest

from scrapy_mpworkers.pool.interface import WorkerView
from scrapy_mpworkers.pool.metrics import Metrics, WorkerTime
from scrapy_mpworkers.pool.worker_state import Phase
from scrapy_mpworkers.status import processes
from scrapy_mpworkers.status.evidence import Evidence
from scrapy_mpworkers.status.processes import Processes, Sample
from scrapy_mpworkers.wire.messages import CALL, CALLBACK


class Watched:
    """A level of two workers, and what is gathered of it."""

    def __init__(self) -> None:
        pool = SimpleNamespace(workers=2)
        metrics = Metrics(workers=[WorkerTime(10.0), WorkerTime(10.0)])
        self.level: Any = SimpleNamespaceWithHash(
            settings=SimpleNamespace(name="", pool=pool, batch_size=0),
            executor=SimpleNamespace(metrics=metrics),
        )
        manager: Any = SimpleNamespace(
            started=[self.level], cpus=2, has_stopped=False, downloads=None
        )
        crawler: Any = SimpleNamespace(settings=SimpleNamespace(getint=lambda name: 16))
        self.evidence = Evidence(crawler, manager, (monotonic() - 10, thread_time()))

    def sees(self, pid: int, busy: float, sample: Sample, restarts: int = 0) -> None:
        view = WorkerView(f"w{pid}", pid, Phase.IDLE, None, 0.0, 0, busy, restarts)
        self.evidence.note(self.level, [view], {pid: sample}, monotonic())

    @property
    def figures(self) -> Any:
        return self.evidence.figures().levels[0]


class SimpleNamespaceWithHash(SimpleNamespace):
    __hash__ = object.__hash__


def sample(at: float, worked: float, memory: int = 100) -> Sample:
    return Sample(at, None, memory, None, worked)


def test_workers_have_waited_for_what_they_were_busy_and_did_not_work() -> None:
    watched = Watched()

    watched.sees(1, 8.0, sample(1.0, 1.0, memory=300))
    watched.sees(2, 8.0, sample(1.0, 3.0))

    assert watched.figures.waited == pytest.approx(0.75)
    assert watched.figures.memory == 300


def test_busy_time_since_the_sample_does_not_count_as_waiting() -> None:
    watched = Watched()

    watched.sees(1, 8.0, sample(1.0, 8.0))
    watched.sees(1, 12.0, sample(1.0, 8.0))

    assert watched.figures.waited == 0.0


def test_replacement_is_not_charged_with_the_time_of_those_before() -> None:
    watched = Watched()

    watched.sees(1, 8.0, sample(1.0, 8.0))
    watched.sees(7, 20.0, sample(2.0, 1.0), restarts=1)

    assert watched.figures.waited == 0.0


def test_nothing_is_known_of_workers_that_were_hardly_busy_or_cannot_be_sampled() -> None:
    watched = Watched()

    assert watched.figures.waited is None
    watched.sees(1, 1.0, sample(1.0, 0.0))
    watched.sees(2, 9.0, Sample(1.0))
    assert watched.figures.waited is None


def test_thread_that_computes_makes_scrapy_busy() -> None:
    watched = Watched()
    until = thread_time() + 0.05
    while thread_time() < until:
        pass

    assert watched.evidence.figures().scrapy == pytest.approx(0.005, rel=0.5)


def test_sample_tells_how_long_a_process_has_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "EVERY", 0.0)
    seen, pid = Processes(), os.getpid()
    before = seen.look([pid])[pid].worked
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

    after = seen.look([pid])[pid].worked

    assert before is not None
    assert after is not None
    assert after - before >= 0.07


@pytest.mark.parametrize(
    ("hops", "of"),
    [
        ([], "items"),
        ([0, 1], "items"),
        ([CALLBACK], "callbacks"),
        ([CALLBACK, 0], "tasks"),
        ([CALL], "tasks"),
    ],
)
def test_the_kind_of_the_tasks_is_known(hops: list[int], of: str) -> None:
    watched = Watched()
    for hop in hops:
        watched.level.executor.metrics.hops[hop].submitted += 1

    assert watched.figures.of == of
