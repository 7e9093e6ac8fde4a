"""The modules that decide: events in, decisions out, no process and no clock."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from scrapy_mpworkers import errors
from scrapy_mpworkers.crawl import reporting as summary
from scrapy_mpworkers.pool.batching import LARGEST, PREFETCH, batch_size, plan, plan_together
from scrapy_mpworkers.pool.memory import OutOfMemoryKills
from scrapy_mpworkers.pool.metrics import Distribution, Metrics, WorkerTime
from scrapy_mpworkers.pool.restarts import FailedStarts, RestartIntensity
from scrapy_mpworkers.pool.task_queue import Entry, TaskQueue
from scrapy_mpworkers.wire.messages import TaskStatus


def task(number: int, size: int = 0) -> Entry:
    return Entry(number, (number, 0, b"", ()), (), lambda outcome: None, size, 0.0)


def ledger_of(count: int) -> TaskQueue:
    task_queue = TaskQueue()
    for number in range(count):
        task_queue.add(task(number))
    return task_queue


def ids(entries: list[Entry]) -> list[int]:
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

        lost = task_queue.lose("a", charged=1, deaths_allowed=2)

        assert (lost.redelivered, lost.given_up, lost.open_messages) == (3, None, 2)
        assert ids(task_queue.lease("b", 3, 0.0)) == [0, 2, 3]

    def test_a_charged_task_travels_and_runs_alone(self) -> None:
        task_queue = ledger_of(3)
        task_queue.lease("a", 3, 0.0)
        task_queue.lose("a", charged=1, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.alone, task_queue.pending) == (2, 1, 3)
        assert ids(task_queue.lease_alone("b", 0.0)) == [1]
        assert task_queue.not_alone(["a", "b"]) == ["a"]
        assert ids(task_queue.lease("c", 3, 0.0)) == [0, 2]
        assert task_queue.not_alone(["c"]) == ["c"]

    def test_attempts_count_every_lease(self) -> None:
        task_queue = ledger_of(1)
        task_queue.lease("a", 1, 0.0)
        task_queue.lose("a", charged=None, deaths_allowed=2)

        (entry,) = task_queue.lease("b", 1, 0.0)

        assert (entry.attempts, entry.deaths) == (2, 0)

    def test_deaths_beyond_the_limit_give_the_task_up(self) -> None:
        task_queue = ledger_of(1)

        task_queue.lease("a", 1, 0.0)
        for _ in range(2):
            assert task_queue.lose("a", charged=0, deaths_allowed=2).given_up is None
            task_queue.lease_alone("a", 0.0)
        given_up = task_queue.lose("a", charged=0, deaths_allowed=2).given_up

        assert given_up is not None
        assert given_up.deaths == 3
        assert task_queue.pending == 0

    def test_what_was_begun_without_an_outcome_is_charged_and_runs_alone(self) -> None:
        task_queue = ledger_of(5)
        entries = task_queue.lease("a", 3, 0.0) + task_queue.lease("a", 2, 0.0)
        task_queue.settle("a", [0])

        lost = task_queue.lose("a", charged=None, deaths_allowed=0, begun=2)

        assert (lost.redelivered, lost.given_up) == (4, None)
        assert [entry.deaths for entry in entries] == [0, 1, 1, 0, 0]
        assert (task_queue.waiting, task_queue.alone) == (2, 2)

    def test_a_suspect_is_given_up_when_it_was_alone(self) -> None:
        task_queue = ledger_of(1)
        task_queue.lease("a", 1, 0.0)
        assert task_queue.lose("a", charged=None, deaths_allowed=0, begun=0).given_up is None
        task_queue.lease_alone("a", 0.0)

        given_up = task_queue.lose("a", charged=None, deaths_allowed=0, begun=0).given_up

        assert given_up is not None
        assert given_up.deaths == 2

    def test_a_task_begun_last_that_has_settled_makes_no_suspects(self) -> None:
        task_queue = ledger_of(3)
        task_queue.lease("a", 3, 0.0)
        task_queue.settle("a", [0, 1])

        lost = task_queue.lose("a", charged=None, deaths_allowed=0, begun=1)

        assert (lost.redelivered, task_queue.alone) == (1, 0)

    def test_a_charge_for_a_task_that_has_settled_is_no_charge(self) -> None:
        task_queue = ledger_of(2)
        task_queue.lease("a", 2, 0.0)
        task_queue.settle("a", [0])

        lost = task_queue.lose("a", charged=0, deaths_allowed=0)

        assert (lost.redelivered, lost.given_up) == (1, None)

    def test_clear_gives_up_waiting_and_leased(self) -> None:
        task_queue = ledger_of(4)
        task_queue.lease("a", 2, 0.0)
        task_queue.lose("a", charged=1, deaths_allowed=2)
        task_queue.lease("a", 2, 0.0)

        assert ids(task_queue.clear()) == [0, 1, 2, 3]
        assert task_queue.pending == 0
        # The lane has two of them still, and says so one day: then its message is over.
        assert task_queue.settle("a", [0]) == ([None], 0)
        assert task_queue.settle("a", [2]) == ([None], 1)


class TestTogether:
    def task_queue(self) -> TaskQueue:
        task_queue = TaskQueue(together=True)
        for number in range(5):
            task_queue.add(task(number))
        task_queue.lease("a", 3, 0.0)
        return task_queue

    def test_those_that_ran_as_one_with_a_blamed_task_run_again_alone(self) -> None:
        task_queue = self.task_queue()

        lost = task_queue.lose("a", charged=0, deaths_allowed=0)

        assert (lost.redelivered, lost.given_up) == (3, None)
        assert (task_queue.waiting, task_queue.alone) == (2, 3)
        assert ids(task_queue.lease_alone("b", 0.0)) == [0]

    def test_alone_a_task_is_blamed_itself(self) -> None:
        task_queue = self.task_queue()
        task_queue.lose("a", charged=0, deaths_allowed=0)
        task_queue.lease_alone("b", 0.0)

        given_up = task_queue.lose("b", charged=0, deaths_allowed=0).given_up

        assert given_up is not None
        assert given_up.id == 0

    def test_without_a_blamed_one_they_stay_together(self) -> None:
        task_queue = self.task_queue()

        task_queue.lose("a", charged=None, deaths_allowed=0)

        assert (task_queue.waiting, task_queue.alone) == (5, 0)


class TestInOrder:
    def test_a_blamed_task_waits_for_those_before_it(self) -> None:
        task_queue = TaskQueue(in_order=True)
        for number in range(5):
            task_queue.add(task(number))
        task_queue.lease("a", 4, 0.0)
        task_queue.lose("a", charged=2, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.alone) == (2, 0)
        assert ids(task_queue.lease("b", 9, 0.0)) == [0, 1]
        assert (task_queue.waiting, task_queue.alone) == (0, 1)
        assert ids(task_queue.lease_alone("b", 0.0)) == [2]
        assert ids(task_queue.lease("b", 9, 0.0)) == [3, 4]

    def test_tasks_in_line_that_travel_alone_can_be_withdrawn_or_given_up(self) -> None:
        task_queue = TaskQueue(in_order=True)
        for number in range(3):
            task_queue.add(task(number))
        task_queue.lease("a", 2, 0.0)
        task_queue.lose("a", charged=1, deaths_allowed=2)

        assert (task_queue.waiting, task_queue.alone) == (1, 0)
        assert task_queue.withdraw(1) is not None
        assert (task_queue.waiting, task_queue.alone) == (2, 0)
        task_queue.lease("b", 1, 0.0)
        task_queue.lose("b", charged=0, deaths_allowed=2)
        assert task_queue.alone == 1
        assert ids(task_queue.clear()) == [0, 2]
        assert (task_queue.waiting, task_queue.alone) == (0, 0)

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


class TestBatching:
    def test_slow_items_and_unknown_ones_travel_alone(self) -> None:
        assert batch_size(None, 2) == batch_size(0.05, 2) == 1

    def test_a_batch_is_a_few_milliseconds_of_work(self) -> None:
        assert batch_size(0.0005, 2) == 20
        assert batch_size(0.0, 2) == LARGEST

    def test_a_loop_with_many_handles_sends_fewer_messages(self) -> None:
        assert [batch_size(0.01, handles) for handles in (1, 20, 40, 64)] == [1, 1, 2, 3]

    def test_idle_handles_come_first(self) -> None:
        assert plan(2, [1, 0, 0], 0.05) == [(1, 1), (2, 1)]

    def test_no_handle_takes_more_than_its_share(self) -> None:
        assert plan(4, [0, 0], 0.0001) == [(0, 2), (1, 2)]

    def test_the_last_tasks_wait_for_the_handle_that_is_idle_first(self) -> None:
        assert plan(2, [1, 1], 0.05) == []
        assert plan(4, [1, 1], 0.05) == [(0, 1), (1, 1)]

    def test_messages_that_run_as_one_are_full_or_due(self) -> None:
        assert plan_together(7, [0, 0], 3, rest_is_due=False) == [(0, 3), (1, 3)]
        assert plan_together(7, [0, 0, 0], 3, rest_is_due=True) == [(0, 3), (1, 3), (2, 1)]
        assert plan_together(7, [0, 0], 3, rest_is_due=True) == [(0, 3), (1, 3)]
        assert plan_together(2, [], 3, rest_is_due=True) == []

    def test_handles_get_no_more_than_one_message_ahead(self) -> None:
        assert plan(100, [PREFETCH, PREFETCH], 0.05) == []
        assert plan(5, [], 0.05) == []


class TestRestarts:
    def test_more_than_the_intensity_within_the_period_is_too_much(self) -> None:
        restarts = RestartIntensity(2, 30.0)

        assert [restarts.allows(now) for now in (0.0, 1.0, 2.0)] == [True, True, False]

    def test_deaths_before_the_period_are_forgotten(self) -> None:
        restarts = RestartIntensity(1, 30.0)

        assert [restarts.allows(now) for now in (0.0, 31.0, 62.0)] == [True, True, True]

    def test_progress_forgives(self) -> None:
        restarts = RestartIntensity(1, 30.0)
        restarts.allows(0.0)

        restarts.progress()

        assert restarts.allows(1.0)

    def test_one_task_that_kills_again_and_again_is_no_fault_of_the_pool(self) -> None:
        restarts = RestartIntensity(0, 30.0)

        assert all(restarts.allows(float(now), task=7) for now in range(20))
        assert (restarts.deaths, restarts.culprits) == (20, 1)

    def test_many_tasks_that_kill_are_too_much(self) -> None:
        restarts = RestartIntensity(12, 30.0)

        allowed = [restarts.allows(n / 10, task=n // 3) for n in range(42)]

        assert allowed == [True] * 39 + [False] * 3

    def test_deaths_with_and_without_a_task_add_up(self) -> None:
        restarts = RestartIntensity(2, 30.0)

        allowed = [restarts.allows(0.0, task) for task in (1, None, 1, 2, None)]

        assert allowed == [*[True] * 4, False]


class TestFailedStarts:
    def test_pauses_double_up_to_a_bound(self) -> None:
        failed, now, pauses = FailedStarts(30.0), 0.0, []
        failed.succeeded()

        for _ in range(10):
            pauses.append(failed.pause(now, has_worker=True, is_hopeless=False))
            now += pauses[-1] or 0.0

        assert pauses[:5] == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8])
        assert pauses[-1] == 10.0

    def test_many_places_that_fail_together_do_not_lengthen_the_pauses(self) -> None:
        failed = FailedStarts(30.0)

        pauses = [failed.pause(0.0, has_worker=True, is_hopeless=False) for _ in range(64)]

        assert pauses == [0.1] * 64

    def test_pool_with_a_worker_never_gives_up(self) -> None:
        failed = FailedStarts(30.0)

        for now in range(0, 10_000, 10):
            assert failed.pause(float(now), has_worker=True, is_hopeless=False)
        assert failed.pause(10_000.0, has_worker=True, is_hopeless=True) == 10.0

    def test_pool_without_a_worker_gives_up_after_the_period(self) -> None:
        failed = FailedStarts(30.0)
        failed.succeeded()

        answers = [failed.pause(now, False, False) for now in (0.0, 5.0, 10.0, 29.0, 30.0)]

        assert answers[-1] is None
        assert None not in answers[:-1]

    def test_pool_that_never_had_a_worker_gives_up_soon_and_at_once_without_hope(self) -> None:
        assert FailedStarts(30.0).pause(0.0, has_worker=False, is_hopeless=True) is None
        failed = FailedStarts(30.0)

        answers = [failed.pause(now, False, False) for now in (0.0, 0.2, 0.6, 1.4)]

        assert answers == [0.1, 0.2, 0.6, None]

    def test_slow_failures_are_tried_some_times_all_the_same(self) -> None:
        failed = FailedStarts(30.0)

        answers = [failed.pause(now, False, False) for now in (0.0, 20.0, 40.0, 60.0)]

        assert answers == [0.1, 10.0, 10.0, None]

    def test_a_start_that_succeeds_forgives(self) -> None:
        failed = FailedStarts(30.0)
        failed.pause(0.0, has_worker=True, is_hopeless=False)
        failed.pause(8.0, has_worker=True, is_hopeless=False)

        assert (failed.succeeded(), failed.succeeded()) == (True, False)
        assert failed.pause(9.0, has_worker=False, is_hopeless=False) == 0.1
        assert failed.is_first


class TestFigures:
    def test_percentiles_are_within_two_percent(self) -> None:
        times = Distribution()
        for number in range(1, 1001):
            times.add(number / 1000)

        assert times.percentile(50) == pytest.approx(0.5, rel=0.03)
        assert times.percentile(99) == pytest.approx(0.99, rel=0.03)
        assert Distribution().percentile(50) == 0.0

    @pytest.mark.parametrize(
        ("busy", "service", "cpus", "said"),
        [
            (9.6, 0.01, 4, "more workers would help"),
            (9.6, 0.01, 2, "every CPU (2) has one"),
            (1.0, 0.01, 4, "fewer workers would do"),
            (6.0, 0.01, 4, "a good fit"),
            (6.0, 0.00001, 4, "inline (ITEM_PIPELINES) would be faster"),
        ],
    )
    def test_advice_is_drawn_from_the_figures(
        self, busy: float, service: float, cpus: int, said: str
    ) -> None:
        metrics = Metrics(workers=[WorkerTime(manned=10.0, busy=busy) for _ in range(2)])
        for _ in range(100):
            metrics.service.add(service)
        metrics.items.settled[TaskStatus.DONE] = 100

        assert said in summary.advice(metrics, 0.0, cpus)
        assert said in summary.table(metrics, 0.0, cpus)

    def test_table_of_a_crawl_whose_items_killed_all_workers_says_so(self) -> None:
        metrics = Metrics(workers=[WorkerTime(manned=10.0)])
        metrics.items.submitted = metrics.items.settled[TaskStatus.DEAD_LETTERED] = 60
        metrics.deaths.update({"exit_3": 37, "SIGKILL": 1})

        table = summary.table(metrics, 0.0, 4)

        assert "no worker got an item done, 38 died (37 × exit_3, 1 × SIGKILL)" in table
        assert "no items came" not in table
        assert "no items came" in summary.table(Metrics(), 0.0, 4)


#: Those that are made of more than a text.
DIED = errors.WorkerDied("worker-1 (pid 7)", 3, -9)
OUT_OF_MEMORY = errors.WorkerDied("worker-1 (pid 7)", 1, -9, out_of_memory=True)
LATE = errors.ItemTimeout("worker-1 (pid 7)", 2.5)
LATE_CALL = errors.CallTimeout("parse", "worker-1 (pid 7)", 2.5)
HELD = errors.CloseTimeout(60.0, "worker-1")
WAITED = errors.CloseTimeout(60.0, None)
ERRORS = [
    DIED,
    OUT_OF_MEMORY,
    LATE,
    LATE_CALL,
    HELD,
    WAITED,
    *(
        cls("what to do")
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, Exception)
        and cls not in map(type, (DIED, LATE, LATE_CALL, HELD))
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_a_death_says_who_how_often_how_and_what_to_do() -> None:
    for part in ("worker-1 (pid 7)", "3 times", "SIGKILL", "MPWORKERS_WORKERS=0"):
        assert part in str(DIED)


def test_a_death_for_want_of_memory_says_so() -> None:
    for part in ("once", "SIGKILL", "kernel", "out of memory", "MPWORKERS_WORKERS"):
        assert part in str(OUT_OF_MEMORY)


def test_a_timeout_says_who_and_how_long_and_what_to_do() -> None:
    for part in ("worker-1 (pid 7)", "2.5 s", "MPWORKERS_ITEM_TIMEOUT", "MPWORKERS_WORKERS=0"):
        assert part in str(LATE)


def test_what_is_given_up_at_close_says_where_it_was_and_what_to_do() -> None:
    for part in ("60 s", "MPWORKERS_CLOSE_TIMEOUT", "MPWORKERS_ITEM_TIMEOUT"):
        assert part in str(HELD)
        assert part in str(WAITED)
    assert "at worker-1" in str(HELD)
    assert "waiting for a worker" in str(WAITED)


class TestOutOfMemoryKills:
    def test_the_kernels_count_is_compared_with_the_last_look(self, tmp_path: Path) -> None:
        vmstat = tmp_path / "vmstat"
        vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
        kills = OutOfMemoryKills(vmstat)

        before = kills.any_since_last_look()
        vmstat.write_text("nr_free_pages 1\noom_kill 4\n")

        assert [before, kills.any_since_last_look(), kills.any_since_last_look()] == [
            False,
            True,
            False,
        ]

    def test_a_system_that_does_not_count_them_had_none(self, tmp_path: Path) -> None:
        assert not OutOfMemoryKills(tmp_path / "missing").any_since_last_look()
