"""Outcomes travel together, but none waits long for the rest of its batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from scrapy_mpworkers.wire.messages import Outcome, Outcomes, Ready, decode
from scrapy_mpworkers.worker import reporter
from scrapy_mpworkers.worker.reporter import Reporter


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    ours, the_workers = Pipe(duplex=False)
    yield ours, the_workers
    ours.close()
    the_workers.close()


def outcome(number: int) -> Outcome:
    return Outcome(number, 0, b"", None, 0.001)


def arrived(ours: Connection) -> list[int]:
    assert ours.poll(20)
    report = decode(ours.recv_bytes())
    assert isinstance(report, Outcomes)
    return [one.task_id for one in report.outcomes]


def test_a_batch_travels_in_one_message(pipe, monkeypatch):
    monkeypatch.setattr(reporter, "FLUSH_AFTER", 100)
    ours, the_workers = pipe
    sender = Reporter(the_workers)

    sender.add(outcome(1))
    sender.add(outcome(2))
    sender.flush(outcome(3))

    assert arrived(ours) == [1, 2, 3]
    assert not ours.poll()


def test_an_outcome_does_not_wait_for_an_item_that_takes_long(pipe):
    ours, the_workers = pipe

    Reporter(the_workers).add(outcome(1))

    assert arrived(ours) == [1]


def test_the_time_of_one_batch_does_not_split_the_next(pipe, monkeypatch):
    monkeypatch.setattr(reporter, "FLUSH_AFTER", 0.2)
    ours, the_workers = pipe
    sender = Reporter(the_workers)
    sender.add(outcome(1))
    sender.flush(outcome(2))
    assert arrived(ours) == [1, 2]
    time.sleep(0.15)  # the thread that the first outcome has woken is asleep still

    begun = time.monotonic()
    sender.add(outcome(3))

    assert arrived(ours) == [3]
    assert time.monotonic() - begun >= 0.2


def test_what_is_ready_goes_before_any_other_report(pipe, monkeypatch):
    monkeypatch.setattr(reporter, "FLUSH_AFTER", 100)
    ours, the_workers = pipe
    sender = Reporter(the_workers)

    sender.add(outcome(1))
    sender.send(Ready(None))

    assert arrived(ours) == [1]
    assert decode(ours.recv_bytes()) == Ready(None)
