"""Messages to a worker: written at once where there is room, fed where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import pytest

from scrapy_mpworkers.pool.channel import PIPE_BYTES, CommandWriter

LARGE = bytes(4 * PIPE_BYTES)


@pytest.fixture
def orders(kept_by_multiprocessing: Any) -> Iterator[CommandWriter]:
    orders = CommandWriter(get_context("spawn"))
    yield orders
    orders.close_reader()
    orders.discard()


def arrived(orders: CommandWriter, count: int) -> list[Any]:
    """The next messages, as the worker gets them."""
    return [orders.queue.get(timeout=10) for _ in range(count)]


def has_feeder(orders: CommandWriter) -> bool:
    return orders._feeder is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a pipe holds")
def test_message_that_finds_room_is_written_at_once(orders: CommandWriter) -> None:
    orders.put("first")
    orders.put("second")

    assert not has_feeder(orders)
    assert arrived(orders, 2) == ["first", "second"]


def test_large_message_is_fed_and_those_behind_it_keep_their_order(orders: CommandWriter) -> None:
    orders.put("first")
    orders.put(LARGE)
    orders.put("last")

    assert has_feeder(orders)
    assert arrived(orders, 3) == ["first", LARGE, "last"]


def test_messages_that_nobody_takes_keep_nobody_waiting(orders: CommandWriter) -> None:
    messages = [bytes([n]) * (PIPE_BYTES // 8) for n in range(40)]

    for message in messages:
        orders.put(message)

    assert arrived(orders, 40) == messages


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a pipe holds")
def test_feeder_rests_again_when_all_is_done(orders: CommandWriter) -> None:
    orders.put(LARGE)
    arrived(orders, 1)
    orders.task_done()

    orders.put("small")

    assert not orders._fed
    assert arrived(orders, 1) == ["small"]


def test_message_to_a_dead_worker_is_no_error(orders: CommandWriter) -> None:
    orders.close_reader()

    orders.put("unheard")

    assert orders.open_messages == 1
