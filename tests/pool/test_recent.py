"""What happened of late is kept within bounds."""

from __future__ import annotations

from scrapy_mpworkers.pool.recent import INCIDENTS, SLOW_SECONDS, SLOWEST, Recent
from scrapy_mpworkers.pool.task import Task

from .harness import Unawaited


class Numbers:
    def label(self, task: Task) -> str:
        return f"item {task.id}"


def task(number: int) -> Task:
    return Task(number, (number, 0, b"", ()), (), Unawaited(), 0, 0.0)


def test_slowest_tasks_are_kept_and_no_others() -> None:
    recent = Recent(Numbers())
    for number in range(100):
        recent.slow(float(number), "worker-1", [task(number)], [(number * 37 % 100) / 10])

    slowest = sorted(recent.slowest, reverse=True)

    assert [round(one.seconds, 1) for one in slowest] == [
        round(9.9 - n / 10, 1) for n in range(SLOWEST)
    ]
    assert slowest[0].label == f"item {slowest[0].task_id}"


def test_task_that_was_given_up_meanwhile_is_not_kept() -> None:
    recent = Recent(Numbers())

    recent.slow(1.0, "worker-1", [None, task(2)], [9.0, 1.0])

    assert [one.task_id for one in recent.slowest] == [2]


def test_quick_tasks_are_not_called_slow() -> None:
    recent = Recent(Numbers())

    recent.slow(1.0, "worker-1", [task(1)], [SLOW_SECONDS / 2])

    assert recent.slowest == []


def test_incidents_are_the_last_ones_and_name_their_item() -> None:
    recent = Recent(Numbers())
    for number in range(INCIDENTS + 5):
        recent.note(float(number), "death", "worker-1", "was killed", task(number))

    assert len(recent.incidents) == INCIDENTS
    assert recent.incidents[-1] == (54.0, "death", "worker-1", "was killed", "item 54")
