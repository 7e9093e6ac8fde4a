"""Distributions of times."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.pool.metrics import Distribution


def test_percentiles_are_within_two_percent() -> None:
    times = Distribution()
    times.extend(number / 1000 for number in range(1, 1001))

    assert times.percentile(50) == pytest.approx(0.5, rel=0.03)
    assert times.percentile(99) == pytest.approx(0.99, rel=0.03)
    assert Distribution().percentile(50) == 0.0
