"""Distributions of times."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.pool.metrics import Distribution


def test_percentiles_are_within_two_percent() -> None:
    times = Distribution()
    times.extend(number / 1000 for number in range(1, 1001))

    assert times.percentiles(50, 99, 100) == pytest.approx([0.5, 0.99, 1.0], rel=0.03)
    assert Distribution().percentiles(50, 99) == [0.0, 0.0]
