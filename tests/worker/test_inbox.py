"""The worker's end of its queue: what was put is what comes out."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import pytest

from scrapy_mpworkers.pool.channel import PIPE_BYTES, CommandWriter
from scrapy_mpworkers.wire.arena import ARENA_BYTES
from scrapy_mpworkers.wire.messages import Batch, Boot, Ending, Large, OpenCrawl, PoisonPill
from scrapy_mpworkers.worker.channel import CommandReader


@pytest.fixture
def orders() -> Iterator[CommandWriter]:
    orders = CommandWriter(get_context("spawn"))
    yield orders
    orders.close_reader()
    orders.discard()


def batch(size: int) -> Batch:
    return Batch(0, (), ((7, 0, bytes(range(256)) * (size // 256), (), None),))


@pytest.mark.parametrize(
    "order",
    [
        Boot((OpenCrawl(0, (), "module:function", b"payload"),)),
        PoisonPill(Ending("shutdown", b"")),
        batch(256),
        batch(4 * PIPE_BYTES),
    ],
    ids=["setup", "pill", "small batch", "fed batch"],
)
def test_an_order_arrives_as_it_was_put(orders: CommandWriter, order: Any) -> None:
    inbox = CommandReader(orders.queue)
    assert not inbox.has_message()

    orders.put(order)
    arrived = inbox.get()

    assert (type(arrived), arrived) == (type(order), order)
    assert not inbox.has_message()


@pytest.mark.parametrize("where", ["arena", "full arena", "pipe"])
def test_large_frames_come_whole_and_in_order(orders: CommandWriter, where: str) -> None:
    arena = orders.arena
    if where == "pipe":
        orders.arena = arena = None
    elif arena is None:
        pytest.skip("only Linux has such memory")
    elif where == "full arena":
        arena.put([], ARENA_BYTES - 100_000)
    inbox = CommandReader(orders.queue, arena)
    large = [Large([bytes([n]) * 70_000, b"end" * n]) for n in (1, 2)]
    told = (1, {"token": b"frame"})
    rows = (
        (7, 0, large[0], (), told),
        (8, 1, b"small", (b"result",), None),
        (9, 0, large[1], (), None),
    )

    for _ in range(2):  # the second time into the same buffer
        orders.put(Batch(0, (), rows, batched=True))
        arrived = inbox.get()

        assert isinstance(arrived, Batch)
        assert arrived.batched
        tasks = [(id, hop, bytes(frame), *more) for id, hop, frame, *more in arrived.tasks]
        assert tasks == [(id, hop, bytes(frame), *more) for id, hop, frame, *more in rows]
        if where == "arena":
            inbox.release()


def test_a_message_above_two_gigabytes_says_its_size_in_another_way(orders: CommandWriter) -> None:
    # A small one in that form: the form is what is tried.
    body = pickle.dumps(PoisonPill())
    os.write(orders.writer.fileno(), struct.pack("!iQ", -1, len(body)) + body)
    orders._count()

    assert CommandReader(orders.queue).get() == PoisonPill()
    orders.queue.task_done()


def test_the_queue_stays_one_that_anybody_can_get_from(orders: CommandWriter) -> None:
    inbox = CommandReader(orders.queue)
    for _ in range(3):
        orders.put(PoisonPill())

    assert inbox.get() == PoisonPill()
    assert orders.queue.get(timeout=10) == PoisonPill()
    assert inbox.get() == PoisonPill()


def test_the_end_of_the_parent_is_an_end_and_no_wait(orders: CommandWriter) -> None:
    inbox = CommandReader(orders.queue)

    orders.writer.close()

    assert inbox.has_message()
    with pytest.raises(EOFError):
        inbox.get()
