"""Which callbacks that have ended count as failed."""

from __future__ import annotations

from typing import Any

import pytest
from scrapy.exceptions import CloseSpider

from scrapy_mpworkers.wire.callbacks import How, Part
from scrapy_mpworkers.wire.messages import TaskStatus
from scrapy_mpworkers.worker.callbacks import status_of


@pytest.mark.parametrize(
    ("how", "why", "status"),
    [
        (How.DONE, None, TaskStatus.DONE),
        (How.PASSED_ON, None, TaskStatus.DONE),
        (How.AT_HOME, "a lock", TaskStatus.DONE),
        (How.REFUSED, ValueError(), TaskStatus.FAILED),
        (How.FAILED, ValueError(), TaskStatus.FAILED),
        (How.REFUSED, CloseSpider("enough"), TaskStatus.DONE),
        (How.FAILED, CloseSpider("enough"), TaskStatus.DONE),
    ],
)
def test_a_callback_has_failed_if_it_raised_but_not_to_close_the_spider(
    how: How, why: Any, status: TaskStatus
) -> None:
    assert status_of(Part((), how=how, why=why)) == status
