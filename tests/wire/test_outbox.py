"""Outcomes in shared memory outlive the process that has written them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import pytest

from scrapy_mpworkers.wire.messages import LARGE, Outcome
from scrapy_mpworkers.wire.outbox import Outbox, make_outbox

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is such memory on Linux only"
)

SIZE = 4096


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    outbox = Outbox(SIZE)
    yield outbox
    outbox.close()


def outcome(number: int, size: int = 0) -> Outcome:
    return Outcome(number, 0, bytes(size), b"effects", 0.5, ("key", number))


def left(outbox: Outbox) -> list[Outcome]:
    return [Outcome(*row) for row in outbox.left().rows]


def test_outcomes_are_left_whole_and_in_order(outbox: Outbox) -> None:
    outbox.begin(7)
    outcomes = [outcome(1), outcome(2, size=100), outcome(1 << 40)]

    assert all(map(outbox.put, outcomes))

    assert left(outbox) == outcomes
    assert outbox.left().crawl == 7


def test_next_batch_takes_the_place_of_what_has_been_sent(outbox: Outbox) -> None:
    outbox.begin(1)
    outbox.put(outcome(1))
    outbox.put(outcome(2))

    outbox.begin(2)
    outbox.put(outcome(3))

    assert left(outbox) == [outcome(3)]


def test_nothing_is_written_over_what_is_there(outbox: Outbox) -> None:
    outbox.begin(1)
    kept = 0
    while outbox.put(outcome(kept, size=450)):
        kept += 1

    assert kept == 7
    assert left(outbox) == [outcome(number, size=450) for number in range(kept)]
    assert outbox.put(outcome(8))  # a smaller one still finds room


@pytest.mark.parametrize("part", ["result", "effects", "keys"])
def test_outcome_that_is_too_large_is_not_kept(outbox: Outbox, part: str) -> None:
    outbox.begin(1)
    large: Any = bytes(LARGE + 1)

    assert outbox.put(outcome(1)._replace(**{part: (large,) if part == "keys" else large}))

    assert left(outbox) == []


def killed_while(work: Callable[[], None]) -> None:
    """Run *work* in a process that ends by SIGKILL behind it."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def record_of(one: Outcome) -> bytes:
    box = Outbox(SIZE)
    box.begin(1)
    begin = box._end
    box.put(one)
    record = bytes(box.memory[begin : box._end])
    box.close()
    return record


def test_kill_at_any_byte_of_a_record_leaves_the_ones_before_it() -> None:
    record = record_of(outcome(2))

    for written in range(len(record) + 1):
        box = Outbox(SIZE)

        def work(box: Outbox = box, written: int = written) -> None:
            box.begin(1)
            box.put(outcome(1))
            box.memory[box._end : box._end + written] = record[:written]

        killed_while(work)
        assert left(box) == [outcome(1)]
        box.close()


def test_what_a_pipeline_has_spoilt_is_not_read(outbox: Outbox) -> None:
    outbox.begin(1)
    outbox.put(outcome(1))
    first = outbox._end
    outbox.put(outcome(2))
    outbox.memory[first + 20] ^= 1

    assert left(outbox) == [outcome(1)]

    outbox._head[0] = 1 << 60
    assert left(outbox) == [outcome(1)]


def write(outbox: Outbox) -> None:
    outbox.begin(3)
    outbox.put(outcome(9))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_that_is_killed_leaves_its_outcomes(method: str) -> None:
    context: Any = get_context(method)
    outbox = make_outbox()
    assert outbox is not None
    process = context.Process(target=write, args=(outbox,))
    process.start()
    outbox.close_fd()
    process.join(20)

    assert process.exitcode == -signal.SIGKILL
    assert left(outbox) == [outcome(9)]
    process.close()
    outbox.close()
