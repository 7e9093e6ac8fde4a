"""Large frames in memory that both sides share."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterator

import pytest

from scrapy_mpworkers.wire import shared_memory as module
from scrapy_mpworkers.wire.arena import MARGIN, Arena, make_arena

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is such memory on Linux only"
)

SIZE = 1000  # of the frames


@pytest.fixture
def arena() -> Iterator[Arena]:
    """Writer and reader in one: they share nothing but the memory."""
    arena = Arena(MARGIN + SIZE)
    yield arena
    arena.close()


def read(arena: Arena, place: int, size: int) -> bytes:
    return bytes(arena.frames(place)[:size])


def test_what_was_put_is_read(arena: Arena) -> None:
    place = arena.put([b"one", b"two"], 6)

    assert place is not None
    assert read(arena, place, 6) == b"onetwo"


def test_there_is_room_again_when_messages_are_done_with(arena: Arena) -> None:
    assert arena.put([bytes(600)], 600) == 0
    assert arena.put([bytes(300)], 300) == 600
    assert arena.put([bytes(200)], 200) is None

    read(arena, 0, 600)
    arena.release()

    assert arena.put([bytes(200)], 200) == 0  # the lowest place that is free
    assert arena.put([bytes(500)], 500) is None
    assert arena.put([bytes(400)], 400) == 200


def test_a_message_that_is_larger_than_all_of_it_is_not_put(arena: Arena) -> None:
    assert arena.put([bytes(SIZE + 1)], SIZE + 1) is None
    assert arena.put([bytes(SIZE)], SIZE) == 0


def test_no_message_is_written_over_another_that_is_still_to_be_read(arena: Arena) -> None:
    chance = random.Random(1)
    under_way: deque[tuple[int, bytes]] = deque()
    refused = 0
    for number in range(2000):
        content = bytes([number % 251]) * chance.randint(1, SIZE // 2)
        place = arena.put([content], len(content))
        if place is None:
            refused += 1
        else:
            under_way.append((place, content))
        while len(under_way) > chance.randint(0, 4):
            place, content = under_way.popleft()
            assert read(arena, place, len(content)) == content
            arena.release()
    assert 0 < refused < 2000


def test_without_such_memory_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise PermissionError(f"{name}: not in this sandbox")

    monkeypatch.setattr(module.os, "memfd_create", refuse)

    assert make_arena() is None


def test_what_was_opened_is_closed_when_there_can_be_no_arena(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(module.os, "ftruncate", refuse)
    before = os.listdir("/proc/self/fd")

    assert make_arena() is None
    assert os.listdir("/proc/self/fd") == before
