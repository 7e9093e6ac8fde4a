"""Distributions of times."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.pool.metrics import Distribution, Rate


def test_percentiles_are_within_two_percent() -> None:
    times = Distribution()
    times.extend(number / 1000 for number in range(1, 1001))

    assert times.percentiles(50, 99, 100) == pytest.approx([0.5, 0.99, 1.0], rel=0.03)
    assert Distribution().percentiles(50, 99) == [0.0, 0.0]


def test_rate_of_the_last_second_is_that_of_the_last_whole_one() -> None:
    rate = Rate()

    rate.add(100.9, 3)
    rate.add(101.0, 5)

    assert rate.per_second(101.5) == 3
    assert rate.per_second(102.1) == 5
    assert rate.per_second(103.0) == 0


def test_rate_of_a_minute_is_scaled_up_while_it_is_younger_and_forgets_what_is_older() -> None:
    rate = Rate()
    for second in range(10):
        rate.add(second, 2)

    assert rate.per_minute(10.0) == 120
    assert rate.per_minute(60.0) == 20
    assert rate.per_minute(65.0) == 10
    rate.add(1_000_000.5, 7)
    assert rate.per_minute(1_000_000.5) == 7


def test_clock_that_stands_still_or_was_late_breaks_no_rate() -> None:
    rate = Rate()

    rate.add(51.0, 1)
    rate.add(50.9, 1)

    assert rate.per_second(52.0) == 2


def test_rates_of_levels_add_up_second_by_second() -> None:
    one, other = Rate(), Rate()
    one.add(100.0, 3)
    other.add(101.0, 4)

    one += other

    assert one.per_second(101.0) == 3
    assert one.per_second(102.0) == 4
