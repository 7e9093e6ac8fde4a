"""Which worker of a cluster fills which slot of a level."""

from __future__ import annotations

from scrapy_mpworkers.backends.dask.assignment import next_assignment


def fill(workers: list[str], slots: int = 0, keyed: bool = False) -> dict[int, str]:
    taken: dict[int, str] = {}
    while (found := next_assignment(taken, workers, {}, slots, keyed)) is not None:
        slot, address = found
        taken[slot] = address
    return taken


def test_each_worker_fills_one_place() -> None:
    assert fill(["a", "b", "c"]) == {0: "a", 1: "b", 2: "c"}


def test_a_level_takes_no_more_workers_than_it_wants() -> None:
    assert fill(["a", "b", "c"], slots=2) == {0: "a", 1: "b"}


def test_slots_without_keys_wait_for_a_worker_of_their_own() -> None:
    assert fill(["a"], slots=2) == {0: "a"}


def test_with_keys_no_place_stays_empty() -> None:
    assert fill(["a", "b"], slots=3, keyed=True) == {0: "a", 1: "b", 2: "a"}


def test_the_worker_with_the_fewest_threads_comes_first() -> None:
    found = next_assignment({}, ["a", "b"], {"a": 2, "b": 1}, 1, keyed=False)

    assert found == (0, "b")


def test_the_place_of_a_lost_handle_is_filled_again() -> None:
    assert next_assignment({0: "a", 2: "c"}, ["a", "c", "d"], {}, 0, False) == (1, "d")


def test_without_workers_nothing_is_filled() -> None:
    assert next_assignment({}, [], {}, 2, keyed=True) is None
