"""Errors say what happened and what to do, also behind a process boundary."""

from __future__ import annotations

import pickle

import pytest

from scrapy_mpworkers import errors

#: Those that are made of more than a text.
DIED = errors.WorkerDied("worker-1 (pid 7)", 3, -9)


OUT_OF_MEMORY = errors.WorkerDied("worker-1 (pid 7)", 1, -9, out_of_memory=True)


LATE = errors.ItemTimeout("worker-1 (pid 7)", 2.5)


LATE_CALL = errors.CallTimeout("parse", "worker-1 (pid 7)", 2.5)


HELD = errors.CloseTimeout(60.0, "worker-1")


WAITED = errors.CloseTimeout(60.0, None)

UNLIKE = errors.NotRepeatableError("parse", "http://site.test/", 3)


ERRORS = [
    DIED,
    OUT_OF_MEMORY,
    LATE,
    LATE_CALL,
    HELD,
    WAITED,
    UNLIKE,
    *(
        cls("what to do")
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, Exception)
        and cls not in map(type, (DIED, LATE, LATE_CALL, HELD, UNLIKE))
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
