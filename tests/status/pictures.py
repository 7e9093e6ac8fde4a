"""Snapshots as tests need them."""

from __future__ import annotations

from typing import Any

from scrapy_mpworkers.status.snapshot import (
    Counts,
    Event,
    LevelSnapshot,
    Percentiles,
    Snapshot,
    TaskSnapshot,
    WorkerSnapshot,
)

BORN = 1_000_000.0  #: when workers were first started, UNIX seconds
TIMES = Percentiles(0.1, 0.2, 0.3)
IDLE = WorkerSnapshot("worker-1", 4711, "idle", None, 0, 0.0, 0, None, None, None, None)
LEVEL = LevelSnapshot(
    name="",
    pending=3,
    max_pending=64,
    pending_bytes=1000,
    max_pending_bytes=1 << 20,
    at_the_door=0,
    is_braking=False,
    per_second=0.0,
    per_minute=0.0,
    items=Counts(0, 0, 0, 0, 0, 0),
    calls=None,
    callbacks=None,
    wait=TIMES,
    service=TIMES,
    utilisation=0.5,
    workers=(IDLE,),
)


def idle(**changes: Any) -> WorkerSnapshot:
    return IDLE._replace(**changes)


def busy(seconds: float, label: str = "a", task: int = 1, **changes: Any) -> WorkerSnapshot:
    at = TaskSnapshot(task, "item", 0, label, seconds)
    return IDLE._replace(state="busy", task=at, **changes)


def snapshot(
    elapsed: float,
    *workers: WorkerSnapshot,
    done: int = 0,
    events: tuple[Event, ...] = (),
    state: str = "running",
    **changes: Any,
) -> Snapshot:
    """A picture of one level, so many seconds after its start."""
    items = Counts(done, done, 0, 0, 0, 0)
    level = LEVEL._replace(workers=workers or (IDLE,), items=items, **changes)
    return Snapshot(BORN + elapsed, "a spider", 1, elapsed, state, (level,), (), events)
