"""What happened of late is kept within bounds."""

from __future__ import annotations

from scrapy_mpworkers.pool.recent import INCIDENTS, SLOWEST, Rate, Recent
from scrapy_mpworkers.pool.task_queue import Task

from .harness import Unawaited


class Numbers:
    def label(self, task: Task) -> str:
        return f"item {task.id}"


def task(number: int) -> Task:
    return Task(number, (number, 0, b"", ()), (), Unawaited(), 0, 0.0)


def test_rate_of_the_last_second_is_that_of_the_last_whole_one() -> None:
    rate = Rate(100.2)

    rate.add(100.9, 3)
    rate.add(101.0, 5)

    assert rate.per_second(101.5) == 3
    assert rate.per_second(102.1) == 5
    assert rate.per_second(103.0) == 0


def test_rate_of_a_minute_is_scaled_up_while_it_is_younger_and_forgets_what_is_older() -> None:
    rate = Rate(0.0)
    for second in range(10):
        rate.add(second, 2)

    assert rate.per_minute(10.0) == 120
    assert rate.per_minute(60.0) == 20
    assert rate.per_minute(65.0) == 10
    rate.add(1_000_000.5, 7)
    assert rate.per_minute(1_000_000.5) == 7


def test_clock_that_stands_still_or_was_late_breaks_no_rate() -> None:
    rate = Rate(50.0)

    rate.add(51.0, 1)
    rate.add(50.9, 1)

    assert rate.per_second(52.0) == 2


def test_slowest_tasks_are_kept_and_no_others() -> None:
    recent = Recent(Numbers(), 0.0)
    for number in range(100):
        recent.settled(float(number), "worker-1", [task(number)], [(number * 37 % 100) / 10])

    slowest = sorted(recent.slowest, reverse=True)

    assert [round(one.seconds, 1) for one in slowest] == [
        round(9.9 - n / 10, 1) for n in range(SLOWEST)
    ]
    assert slowest[0].label == f"item {slowest[0].task_id}"


def test_task_that_was_given_up_meanwhile_is_counted_and_not_kept() -> None:
    recent = Recent(Numbers(), 0.0)

    recent.settled(1.0, "worker-1", [None, task(2)], [9.0, 1.0])

    assert [one.task_id for one in recent.slowest] == [2]
    assert recent.rate.per_second(2.0) == 2


def test_incidents_are_the_last_ones_and_name_their_item() -> None:
    recent = Recent(Numbers(), 0.0)
    for number in range(INCIDENTS + 5):
        recent.note(float(number), "death", "worker-1", "was killed", task(number))

    assert len(recent.incidents) == INCIDENTS
    assert recent.incidents[-1] == (54.0, "death", "worker-1", "was killed", "item 54")
