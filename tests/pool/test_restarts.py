"""How many deaths and failed starts are too many."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.pool.restarts import DeadlyPipelines, FailedStarts, RestartIntensity
from scrapy_mpworkers.wire.messages import TaskStatus


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

        assert restarts.allows(1.0, reports=1)
        assert not restarts.allows(1.0, reports=1)

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


def metrics(done: int) -> Metrics:
    found = Metrics()
    found.hops[0].settled[TaskStatus.DONE] = done
    return found


class TestDeadlyPipelines:
    def test_six_items_in_a_row_with_more_deaths_than_allowed_are_no_accident(self) -> None:
        deadly = DeadlyPipelines(12)

        assert [deadly.are_certain(3, metrics(0)) for _ in range(6)] == [*[False] * 5, True]
        assert "6 items in a row killed 18 workers" in deadly.history

    def test_a_pool_that_may_lose_many_workers_is_given_more_items(self) -> None:
        deadly = DeadlyPipelines(40)

        assert [deadly.are_certain(3, metrics(0)) for _ in range(14)].index(True) == 13

    def test_items_between_which_others_are_done_are_a_few(self) -> None:
        deadly = DeadlyPipelines(0)

        assert not any(deadly.are_certain(3, metrics(n)) for n in range(1000))

    def test_items_at_the_end_of_a_crawl_that_went_well_are_a_few(self) -> None:
        deadly = DeadlyPipelines(12)

        assert not any(deadly.are_certain(3, metrics(100)) for _ in range(100))

    def test_one_that_was_done_does_not_hide_the_others_for_good(self) -> None:
        deadly = DeadlyPipelines(12)

        assert [deadly.are_certain(3, metrics(1)) for _ in range(10)].index(True) == 9

    def test_items_that_were_given_up_for_another_reason_are_not_done(self) -> None:
        deadly, late = DeadlyPipelines(12), Metrics()
        late.hops[0].settled[TaskStatus.DEAD_LETTERED] = 500

        assert [deadly.are_certain(3, late) for _ in range(6)][-1]


class TestFailedStarts:
    def test_pauses_double_up_to_a_bound(self) -> None:
        failed, now, pauses = FailedStarts(30.0), 0.0, []
        failed.succeeded()

        for _ in range(10):
            pauses.append(failed.pause(now, has_worker=True, is_hopeless=False))
            now += pauses[-1] or 0.0

        assert pauses[:5] == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8])
        assert pauses[-1] == 10.0

    def test_many_slots_that_fail_together_do_not_lengthen_the_pauses(self) -> None:
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
