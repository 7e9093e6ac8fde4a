"""The whole crawl is killed at random moments, and resumed: no item on record is lost."""

from __future__ import annotations

import pickle
import random
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.crawls.harness import WORLDS, offload

if TYPE_CHECKING:
    from system.crawls.harness import Launcher

ITEMS = 2_000  # of 2 ms each, on two workers: far more than the crawl lives to see
ROUNDS = 20


@pytest.mark.full
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_items_on_record_outlive_a_kill_at_any_moment(
    launch: Launcher, tmp_path: Path, seed: int
) -> None:
    world = WORLDS[seed % len(WORLDS)]
    job = tmp_path / "job"
    settings = {
        **offload("Tells"),
        "JOBDIR": str(job),
        "MPWORKERS_JOURNAL": True,
        "MPWORKERS_MAX_PENDING": 64,
    }
    crawl = launch.crawl("start", world, f"items={ITEMS}", **settings)
    crawl.wait_told("busy")
    # Not at an event: at any moment of an item's way, the writing of the journal included.
    threading.Event().wait(random.Random(seed).uniform(0, 1.0))
    crawl.kill_main()
    killed = crawl.finish(grace=5)
    left = on_record(job)

    resumed = launch.crawl("start", world, "items=0", **settings).finish()

    assert left
    assert set(left) <= set(resumed.told("scraped"))
    # What a worker has begun was on record; it is off the record only with an outcome.
    assert set(killed.told("busy")) <= {*killed.told("processed"), *left}
    assert resumed.exit_code == 0
    assert on_record(job) == []


def on_record(job: Path) -> list[int]:
    """The numbers of the items in the journal."""
    database = sqlite3.connect(job / "mpworkers-journal.sqlite")
    try:
        return [
            pickle.loads(frame)["n"] for (frame,) in database.execute("SELECT frame FROM entry")
        ]
    finally:
        database.close()
