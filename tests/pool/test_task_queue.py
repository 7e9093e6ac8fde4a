"""Which task is leased, settled, given back or given up."""

from __future__ import annotations

from typing import Any, cast

from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.pool.task_queue import TaskQueue, up_to


def task(number: int, size: int = 0) -> Task:
    return Task(number, (number, 0, b"", ()), (), cast(Any, None), size, 0.0)


def ledger_of(count: int) -> TaskQueue:
    task_queue = TaskQueue()
    for number in range(count):
        task_queue.add(task(number))
    return task_queue


def ids(entries: list[Task]) -> list[int]:
    return [entry.id for entry in entries]


class TestLedger:
    def test_tasks_are_leased_in_the_order_they_came(self) -> None:
        task_queue = ledger_of(5)

        assert ids(task_queue.lease("a", 2, 0.0)) == [0, 1]
        assert ids(task_queue.lease("b", 2, 0.0)) == [2, 3]
        assert (task_queue.waiting, task_queue.pending) == (1, 5)

    def test_a_message_has_no_more_bytes_than_it_may_unless_a_single_task_has(self) -> None:
        task_queue = TaskQueue()
        for number, size in enumerate([300, 60, 40, 1]):
            task_queue.add(task(number, size))

        messages = [ids(task_queue.lease("a", 4, 0.0, most_bytes=100)) for _ in range(3)]

        assert messages == [[0], [1, 2], [3]]
        assert task_queue.open_messages("a") == 3

    def test_the_last_task_of_a_message_closes_it(self) -> None:
        task_queue = ledger_of(2)
        task_queue.lease("a", 2, 0.0)

        over = [task_queue.settle("a", [n])[1] for n in (1, 0)]

        assert over == [0, 1]
        assert task_queue.open_messages("a") == 0

    def test_a_task_is_settled_once_and_only_by_its_own_handle(self) -> None:
        task_queue = ledger_of(1)
        task_queue.lease("a", 1, 0.0)

        assert task_queue.settle("b", [0]) == ([None], 0)
        entries, over = task_queue.settle("a", [0])
        assert (entries != [None], over) == (True, 1)
        assert task_queue.settle("a", [0]) == ([None], 0)

    def test_a_lost_handle_charges_one_task_and_gives_the_others_back_to_the_front(self) -> None:
        task_queue = ledger_of(4)
        task_queue.lease("a", 2, 0.0)
        task_queue.lease("a", 1, 0.0)

        lost = task_queue.lose("a", suspect=1, deaths_allowed=2)

        assert (lost.redelivered, lost.given_up) == (3, None)
        assert ids(task_queue.lease("b", 3, 0.0)) == [0, 2, 3]

    def test_a_charged_task_travels_and_runs_alone(self) -> None:
        task_queue = ledger_of(3)
        task_queue.lease("a", 3, 0.0)
        task_queue.lose("a", suspect=1, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.quarantined, task_queue.pending) == (2, 1, 3)
        assert ids(task_queue.lease_quarantined("b", 0.0)) == [1]
        assert list(task_queue.look(["a", "b"])[1]) == ["a"]
        assert ids(task_queue.lease("c", 3, 0.0)) == [0, 2]
        assert list(task_queue.look(["c"])[1]) == ["c"]

    def test_attempts_count_every_lease(self) -> None:
        task_queue = ledger_of(1)
        task_queue.lease("a", 1, 0.0)
        task_queue.lose("a", suspect=None, deaths_allowed=2)

        (entry,) = task_queue.lease("b", 1, 0.0)

        assert (entry.attempts, entry.deaths) == (2, 0)

    def test_deaths_beyond_the_limit_give_the_task_up(self) -> None:
        task_queue = ledger_of(1)

        task_queue.lease("a", 1, 0.0)
        for _ in range(2):
            assert task_queue.lose("a", suspect=0, deaths_allowed=2).given_up is None
            task_queue.lease_quarantined("a", 0.0)
        given_up = task_queue.lose("a", suspect=0, deaths_allowed=2).given_up

        assert given_up is not None
        assert given_up.deaths == 3
        assert task_queue.pending == 0

    def test_what_was_begun_without_an_outcome_is_charged_and_runs_alone(self) -> None:
        task_queue = ledger_of(5)
        entries = task_queue.lease("a", 3, 0.0) + task_queue.lease("a", 2, 0.0)
        task_queue.settle("a", [0])
        begun = up_to(2, task_queue.leases("a"))

        lost = task_queue.lose("a", suspect=None, deaths_allowed=0, begun=begun)

        assert (lost.redelivered, lost.given_up) == (4, None)
        assert [entry.deaths for entry in entries] == [0, 1, 1, 0, 0]
        assert (task_queue.waiting, task_queue.quarantined) == (2, 2)

    def test_a_suspect_is_given_up_when_it_was_alone(self) -> None:
        task_queue = ledger_of(1)
        begun = task_queue.lease("a", 1, 0.0)
        lost = task_queue.lose("a", suspect=None, deaths_allowed=0, begun=begun)
        assert lost.given_up is None
        task_queue.lease_quarantined("a", 0.0)

        given_up = task_queue.lose("a", suspect=None, deaths_allowed=0, begun=begun).given_up

        assert given_up is not None
        assert given_up.deaths == 2

    def test_a_task_begun_last_that_has_settled_makes_no_suspects(self) -> None:
        task_queue = ledger_of(3)
        task_queue.lease("a", 3, 0.0)
        task_queue.settle("a", [0, 1])

        assert up_to(1, task_queue.leases("a")) == []
        lost = task_queue.lose("a", suspect=None, deaths_allowed=0)

        assert (lost.redelivered, task_queue.quarantined) == (1, 0)

    def test_tasks_before_one_whose_outcome_is_left_are_charged_if_theirs_were_lost(self) -> None:
        task_queue = ledger_of(5)
        entries = task_queue.lease("a", 5, 0.0)
        begun = up_to(3, task_queue.leases("a"))
        task_queue.settle("a", [2, 3])

        lost = task_queue.lose("a", suspect=None, deaths_allowed=0, begun=begun)

        assert (lost.redelivered, lost.given_up) == (3, None)
        assert [entry.deaths for entry in entries] == [1, 1, 0, 0, 0]

    def test_a_charge_for_a_task_that_has_settled_is_no_charge(self) -> None:
        task_queue = ledger_of(2)
        task_queue.lease("a", 2, 0.0)
        task_queue.settle("a", [0])

        lost = task_queue.lose("a", suspect=0, deaths_allowed=0)

        assert (lost.redelivered, lost.given_up) == (1, None)

    def test_clear_gives_up_waiting_and_leased(self) -> None:
        task_queue = ledger_of(4)
        task_queue.lease("a", 2, 0.0)
        task_queue.lose("a", suspect=1, deaths_allowed=2)
        task_queue.lease("a", 2, 0.0)

        assert ids(task_queue.clear()) == [0, 1, 2, 3]
        assert task_queue.pending == 0
        # The lane has two of them still, and says so one day: then its message is over.
        assert task_queue.settle("a", [0]) == ([None], 0)
        assert task_queue.settle("a", [2]) == ([None], 1)


class TestBatched:
    def task_queue(self) -> TaskQueue:
        task_queue = TaskQueue(batched=True)
        for number in range(5):
            task_queue.add(task(number))
        task_queue.lease("a", 3, 0.0)
        return task_queue

    def test_those_that_ran_as_one_with_a_blamed_task_run_again_alone(self) -> None:
        task_queue = self.task_queue()

        lost = task_queue.lose("a", suspect=0, deaths_allowed=0)

        assert (lost.redelivered, lost.given_up) == (3, None)
        assert (task_queue.waiting, task_queue.quarantined) == (2, 3)
        assert ids(task_queue.lease_quarantined("b", 0.0)) == [0]

    def test_alone_a_task_is_blamed_itself(self) -> None:
        task_queue = self.task_queue()
        task_queue.lose("a", suspect=0, deaths_allowed=0)
        task_queue.lease_quarantined("b", 0.0)

        given_up = task_queue.lose("b", suspect=0, deaths_allowed=0).given_up

        assert given_up is not None
        assert given_up.id == 0

    def test_without_a_blamed_one_they_stay_together(self) -> None:
        task_queue = self.task_queue()

        task_queue.lose("a", suspect=None, deaths_allowed=0)

        assert (task_queue.waiting, task_queue.quarantined) == (5, 0)


class TestInOrder:
    def test_a_blamed_task_waits_for_those_before_it(self) -> None:
        task_queue = TaskQueue(in_order=True)
        for number in range(5):
            task_queue.add(task(number))
        task_queue.lease("a", 4, 0.0)
        task_queue.lose("a", suspect=2, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.quarantined) == (2, 0)
        assert ids(task_queue.lease("b", 9, 0.0)) == [0, 1]
        assert (task_queue.waiting, task_queue.quarantined) == (0, 1)
        assert ids(task_queue.lease_quarantined("b", 0.0)) == [2]
        assert ids(task_queue.lease("b", 9, 0.0)) == [3, 4]

    def test_tasks_in_line_that_travel_alone_can_be_withdrawn_or_given_up(self) -> None:
        task_queue = TaskQueue(in_order=True)
        for number in range(3):
            task_queue.add(task(number))
        task_queue.lease("a", 2, 0.0)
        task_queue.lose("a", suspect=1, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.quarantined) == (1, 0)
        assert task_queue.withdraw(1) is not None
        assert (task_queue.waiting, task_queue.quarantined) == (2, 0)
        task_queue.lease("b", 1, 0.0)
        task_queue.lose("b", suspect=0, deaths_allowed=2)
        assert task_queue.quarantined == 1
        assert ids(task_queue.clear()) == [0, 2]
        assert (task_queue.waiting, task_queue.quarantined) == (0, 0)

    def test_leases_of_another_handle_are_known(self) -> None:
        task_queue = ledger_of(1)
        task_queue.lease("a", 1, 0.0)

        assert task_queue.is_held_beside(["b"])
        assert not task_queue.is_held_beside(["a"])

    def test_a_task_that_waits_can_be_withdrawn(self) -> None:
        task_queue = ledger_of(3)
        task_queue.lease("a", 1, 0.0)

        assert task_queue.withdraw(0) is None
        assert task_queue.withdraw(2) is not None
        assert task_queue.pending == 2
