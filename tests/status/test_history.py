"""What is kept of a crawl for its page and its report, and how that stays small."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from scrapy_mpworkers.pool.recent import Incident
from scrapy_mpworkers.status import observer
from scrapy_mpworkers.status.history import History
from scrapy_mpworkers.status.snapshot import Event, WorkerSnapshot
from scrapy_mpworkers.status.timeline import Track

from .pictures import BORN, busy, idle, snapshot


@dataclass
class Stretch:
    """A span that knows how many it is made of."""

    start: float
    end: float
    count: int = 1

    def absorb(self, later: Stretch) -> None:
        self.end, self.count = later.end, self.count + later.count


def track_of(seconds: int, limit: int = 40) -> list[Stretch]:
    track: Track[Stretch] = Track(limit)
    for second in range(seconds):
        track.append(Stretch(second, second + 1.0))
        assert len(track.spans) <= limit
    return track.spans


def history_of(*workers: WorkerSnapshot) -> dict[str, Any]:
    """The history of a crawl with one worker, which was seen so each second."""
    history = History()
    for second, worker in enumerate(workers):
        history.add(snapshot(second + 1.0, worker, done=10 * (second + 1)))
    return history.as_dict()


def segments_of(*workers: WorkerSnapshot) -> list[list[Any]]:
    [worker] = history_of(*workers)["workers"]
    return worker["segments"]


def test_few_spans_stay_as_they_are() -> None:
    assert track_of(40) == [Stretch(second, second + 1.0) for second in range(40)]


def test_many_spans_cover_all_of_the_time_without_a_gap() -> None:
    spans = track_of(86_400)

    assert [span.end for span in spans[:-1]] == [span.start for span in spans[1:]]
    assert (spans[0].start, spans[-1].end) == (0, 86_400)
    assert sum(span.count for span in spans) == 86_400


def test_the_last_spans_stay_fine_and_old_ones_are_about_as_long_as_each_other() -> None:
    spans = track_of(10_000)

    assert {span.count for span in spans[-20:]} == {1}
    longest = max(span.count for span in spans)
    assert sum(span.count for span in spans if span.count == longest) > 5_000


def test_a_merged_point_has_the_sum_of_what_was_settled_and_the_worst_of_the_rest() -> None:
    history = History()
    for second in range(1, 2001):
        history.add(snapshot(float(second), done=second * 7, pending=second % 50), second / 1e4)

    told = history.as_dict()
    [level] = told["levels"]

    assert len(told["times"]) <= 800
    assert sum(level["settled"]) == 14_000
    assert max(level["pending"]) == 49
    assert max(told["lag"]) == 0.2


def test_a_long_task_is_one_segment_from_the_second_when_it_began() -> None:
    label = "https://example.com/long"

    begins = busy(0.5, label, 9, busy_seconds=0.5)
    goes_on = busy(1.5, label, 9, busy_seconds=1.5), busy(2.5, label, 9, busy_seconds=2.5)

    segments = segments_of(idle(), begins, *goes_on)

    assert [segment[:5] for segment in segments] == [
        [0.0, 1.0, "idle", 0.0, 0],
        [1.0, 1.5, "busy", 0.0, 0],
        [1.5, 4.0, "busy", 2.5, 0],
    ]
    assert segments[-1][5:] == [label, 2.5]


def test_short_tasks_one_after_the_other_are_one_segment_with_their_number() -> None:
    seen = [busy(0.1, f"item {n}", n, settled=20 * n, busy_seconds=0.6 * n) for n in range(1, 6)]

    [segment] = segments_of(*seen)

    assert segment[:5] == [0.0, 5.0, "busy", 3.0, 100]


def test_a_worker_that_was_seen_idle_between_two_tasks_was_busy_all_the_same() -> None:
    seen = [idle(settled=9 * n, busy_seconds=0.9 * n) for n in range(1, 4)]

    [segment] = segments_of(*seen)

    assert segment[:5] == [0.0, 3.0, "idle", 2.7, 27]


def test_a_replacement_counts_its_tasks_from_0_in_the_same_lane() -> None:
    seen = [idle(settled=50), idle(name="worker-1.1", settled=3, restarts=1)]

    [worker] = history_of(*seen)["workers"]

    assert (worker["name"], worker["settled"], worker["restarts"]) == ("worker-1", 53, 1)


def test_hours_of_short_and_long_tasks_stay_small() -> None:
    history = History()
    workers = [f"worker-{n}" for n in range(1, 5)]
    for second in range(1, 5_000):
        states = [
            idle(name=name) if (second + n) % 3 else busy(0.2, "x" * 120, second, name=name)
            for n, name in enumerate(workers)
        ]
        history.add(snapshot(float(second), *states))

    told = history.as_dict()

    assert all(len(worker["segments"]) <= 400 for worker in told["workers"])
    assert len(json.dumps(told)) < 500_000


def test_each_event_is_marked_once() -> None:
    died = Event(
        BORN + 1.5, "death", "", "worker-1", "worker-1 was ended by SIGKILL", "an item", 1.5
    )
    history = History()
    for second in (1.0, 2.0, 3.0):
        history.add(snapshot(second, events=(died,) if second > 1 else ()))

    [mark] = history.as_dict()["marks"]

    assert mark["at"] == 1.5
    assert (mark["kind"], mark["worker"], mark["label"]) == ("death", "worker-1", "an item")


@pytest.mark.parametrize(
    "clock", [lambda second: second * 20e-6, lambda second: -3600 * (second > 200)]
)
def test_each_death_is_one_mark_whatever_the_clock_does(clock: Callable[[int], float]) -> None:
    history = History()
    for second in range(1, 601):
        died = [at for at in (5.0, 5.0, 300.0) if at <= second]
        events = [
            Event(BORN + clock(second) + at, "death", "", f"worker-{n}", "ended", "", at)
            for n, at in enumerate(died)
        ]
        seen = snapshot(float(second), events=tuple(events))
        history.add(seen._replace(taken_at=seen.taken_at + clock(second)))

    marks = history.as_dict()["marks"]

    assert [(mark["at"], mark["worker"]) for mark in marks] == [
        (5.0, "worker-0"),
        (5.0, "worker-1"),
        (300.0, "worker-2"),
    ]


def test_an_incident_is_the_same_event_in_each_snapshot_but_for_the_clock() -> None:
    incident = Incident(105.0, "death", "worker-1", "ended", "an item")
    level = SimpleNamespace(
        settings=SimpleNamespace(name=""),
        executor=SimpleNamespace(recent=SimpleNamespace(incidents=[incident])),
    )

    [first], [second] = (observer._events([level], epoch, 100.0) for epoch in (1e9, 1e9 + 0.02))

    assert first.elapsed == second.elapsed == 5.0
    assert (first.at, second.at) == (1e9 + 105, 1e9 + 105.02)


def test_workers_that_are_gone_at_the_end_leave_no_hole_there() -> None:
    history = History()
    history.add(snapshot(1.0, busy(0.5), done=1))
    history.add(snapshot(1.5, state="stopped", done=1))

    assert history.as_dict()["times"] == [1.0]


def test_what_is_recent_has_the_last_seconds_and_the_segment_before_them() -> None:
    history = History()
    died = [Event(BORN + at, "death", "", "worker-1", "ended", "", at) for at in (2.5, 28.5)]
    for second in range(1, 31):
        seen = idle(settled=second) if second % 2 else busy(1.0, task=second, settled=second)
        history.add(snapshot(float(second), seen, done=second, events=tuple(died[: second // 3])))

    told, recent = history.as_dict(), history.as_dict(last=10.0)
    [whole], [lane] = told["workers"], recent["workers"]

    assert (told["since"], recent["since"]) == (0.0, 20.0)
    assert recent["times"] == told["times"][20:]
    assert recent["levels"][0]["settled"] == told["levels"][0]["settled"][20:]
    assert lane["segments"] == whole["segments"][-len(lane["segments"]) :]
    assert [lane["segments"][i][1] for i in (0, 1)] == [20.0, 21.0]
    assert lane["settled"] == whole["settled"] == 30
    assert [mark["at"] for mark in recent["marks"]] == [28.5]


class Clock:
    """A loop whose timers ring when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.timers.append((seconds, function))

    def ring(self) -> None:
        self.timers.pop()[1]()


def test_a_second_has_five_looks_at_the_clock_and_one_at_the_workers() -> None:
    loop, history, taken = Clock(), History(), []

    def look() -> Any:
        taken.append(snapshot(len(taken) + 1.0))
        return taken[-1]

    history.record(loop, look)  # type: ignore[arg-type]
    for _ in range(14):
        loop.ring()

    assert len(taken) == 3
    assert [seconds for seconds, _ in loop.timers] == [0.2]


def test_a_timer_that_rings_late_is_the_lag_of_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, history, now = Clock(), History(), [100.0]
    monkeypatch.setattr("scrapy_mpworkers.status.history.monotonic", lambda: now[0])
    history.record(loop, lambda: snapshot(1.0))  # type: ignore[arg-type]
    for late in (0.3, 0.0, 0.0, 0.0):
        now[0] += loop.timers[0][0] + late
        loop.ring()

    [lag] = history.as_dict()["lag"]

    assert lag == pytest.approx(0.3)


def test_busy_workers_are_their_time_not_those_that_happen_to_be_seen_at_work() -> None:
    history = History()
    for second in (1, 2):
        workers = idle(busy_seconds=0.75 * second), idle(name="worker-2", busy_seconds=0.5 * second)
        history.add(snapshot(float(second), *workers))

    [level] = history.as_dict()["levels"]

    assert level["busy"] == [1.25, 1.25]
