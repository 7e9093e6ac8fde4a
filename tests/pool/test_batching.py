"""How many tasks make a message, and who gets it."""

from __future__ import annotations

from scrapy_mpworkers.pool.batching import (
    LARGEST,
    PREFETCH,
    Batched,
    ServiceTime,
    batch_size,
    plan,
    plan_batched,
    room,
)


class TestBatching:
    def test_slow_items_and_unknown_ones_travel_alone(self) -> None:
        assert batch_size(None, 2) == batch_size(0.05, 2) == 1

    def test_a_batch_is_a_few_milliseconds_of_work(self) -> None:
        assert batch_size(0.001, 2) == 40
        assert batch_size(0.0, 2) == LARGEST

    def test_a_loop_with_many_handles_sends_fewer_messages(self) -> None:
        assert [batch_size(0.01, handles) for handles in (1, 80, 100, 200)] == [4, 4, 5, 10]

    def test_idle_handles_come_first(self) -> None:
        assert plan(2, [1, 0, 0], 0.05) == [(1, 1), (2, 1)]

    def test_no_handle_takes_more_than_its_share(self) -> None:
        assert plan(4, [0, 0], 0.0001) == [(0, 2), (1, 2)]

    def test_the_last_tasks_wait_for_the_handle_that_is_idle_first(self) -> None:
        assert plan(2, [1, 1], 0.05) == []
        assert plan(4, [1, 1], 0.05) == [(0, 1), (1, 1)]

    def test_messages_that_run_as_one_are_full_or_due(self) -> None:
        assert plan_batched(7, [0, 0], 3, rest_is_due=False) == [(0, 3), (1, 3)]
        assert plan_batched(7, [0, 0, 0], 3, rest_is_due=True) == [(0, 3), (1, 3), (2, 1)]
        assert plan_batched(7, [0, 0], 3, rest_is_due=True) == [(0, 3), (1, 3)]
        assert plan_batched(2, [], 3, rest_is_due=True) == []

    def test_handles_get_no_more_than_one_message_ahead(self) -> None:
        assert plan(100, [PREFETCH, PREFETCH], 0.05) == []
        assert plan(5, [], 0.05) == []


def room_for(seconds: float, workers: int) -> int:
    service = ServiceTime()
    service.add(seconds)
    return room([service], workers).items


class TestRoom:
    def test_while_nothing_is_known_workers_have_their_messages_and_no_more(self) -> None:
        assert room([ServiceTime()], 2).items == 2 * PREFETCH

    def test_a_second_of_work_may_be_pending(self) -> None:
        assert [room_for(seconds, 2) for seconds in (0.05, 0.1, 0.3)] == [40, 20, 7]

    def test_slow_items_fill_the_messages_of_all_workers_and_one_waits_for_each(self) -> None:
        assert room_for(5.0, 2) == room_for(5.0, 1) * 2 == 2 * (PREFETCH + 1)

    def test_quick_items_are_bounded_by_their_number(self) -> None:
        assert [room_for(0.01, workers) for workers in (1, 2, 4, 16)] == [64, 64, 64, 256]

    def test_items_of_no_time_fill_the_messages_of_all_workers(self) -> None:
        assert room_for(0.0, 2) == 2 * (PREFETCH + 1) * LARGEST

    def test_as_many_gather_to_run_as_one_as_are_under_way(self) -> None:
        assert room([], 2, batched=Batched(500, 1.0)).items == 4 * 500 * 2

    def test_workers_do_so_many_in_a_second(self) -> None:
        service = ServiceTime()
        service.add(0.01)

        assert room([service], 4).per_second == 400
        assert room([], 2).per_second == room([], 2).items
