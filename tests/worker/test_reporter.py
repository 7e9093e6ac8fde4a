"""Outcomes travel together, but none waits long for the rest of its batch.

Each reporter has a process of its own, as in a worker: its thread ends with that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import pytest

from scrapy_mpworkers.wire.frames import decode_report
from scrapy_mpworkers.wire.messages import Opened, Outcome, Outcomes
from scrapy_mpworkers.worker.channel import PATIENCE, Reporter

Start = Callable[..., Connection]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that is given a pipe's end; returns the other end."""
    context = get_context("spawn")
    started: list[tuple[Any, Connection]] = []

    def start(scenario: Callable[[Connection], None]) -> Connection:
        ours, the_workers = context.Pipe()
        process = context.Process(target=scenario, args=(the_workers,))
        process.start()
        the_workers.close()
        started.append((process, ours))
        return ours

    yield start

    for process, ours in started:
        process.join(20)
        assert process.exitcode == 0
        process.close()
        ours.close()


def outcome(number: int) -> Outcome:
    return Outcome(number, 0, b"", None, 0.001)


def arrived(ours: Connection) -> list[int]:
    assert ours.poll(20)
    report = decode_report(ours.recv_bytes())
    assert isinstance(report, Outcomes)
    return [Outcome(*row).task_id for row in report.rows]


def quick_batch(the_workers: Connection) -> None:
    sender = Reporter(the_workers, [0.0] * 4, batch_seconds=100)
    sender.add(outcome(1))
    sender.add(outcome(2))
    sender.flush(outcome(3))


def test_a_batch_travels_in_one_message(start: Start) -> None:
    ours = start(quick_batch)

    assert arrived(ours) == [1, 2, 3]
    with pytest.raises(EOFError):
        ours.recv_bytes()


def long_item(the_workers: Connection) -> None:
    Reporter(the_workers, [0.0] * 4, batch_seconds=0.01).add(outcome(1))
    the_workers.recv_bytes()


def test_an_outcome_does_not_wait_for_an_item_that_takes_long(start: Start) -> None:
    ours = start(long_item)

    assert arrived(ours) == [1]
    ours.send_bytes(b"end")  # until now the item was at work


def two_batches(the_workers: Connection) -> None:
    sender = Reporter(the_workers, [0.0] * 4, batch_seconds=0.2 / PATIENCE)
    sender.add(outcome(1))
    sender.flush(outcome(2))
    time.sleep(0.15)  # the thread that the first outcome has woken is asleep still
    sender.add(outcome(3))
    begun = time.monotonic()
    while sender._finished:
        time.sleep(0.001)
    assert time.monotonic() - begun > 0.19


def test_the_time_of_one_batch_does_not_split_the_next(start: Start) -> None:
    ours = start(two_batches)

    assert arrived(ours) == [1, 2]
    assert arrived(ours) == [3]


def other_report(the_workers: Connection) -> None:
    sender = Reporter(the_workers, [0.0] * 4, batch_seconds=100)
    sender.add(outcome(1))
    sender.send(Opened(0, None))


def test_what_is_ready_goes_before_any_other_report(start: Start) -> None:
    ours = start(other_report)

    assert arrived(ours) == [1]
    assert decode_report(ours.recv_bytes()) == Opened(0, None)
