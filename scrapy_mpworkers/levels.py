"""The type of a level, which tells editors and type checkers what ``MPWORKERS_LEVELS`` may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict


class _Named(TypedDict):  # typing.Required came with Python 3.11
    name: str


class LevelDict(_Named, total=False):
    """A level of ``MPWORKERS_LEVELS``, which is an ordinary dict.

    docs/levels.md says what each key means. In ``pipelines``, keys are import paths, classes or
    functions, and values are orders.
    """

    # Any: the key type of a Mapping is invariant, so a union would refuse a dict[str, int].
    pipelines: Mapping[Any, float | None]
    key: str | Callable[[Any], Any] | None
    batch_size: int
    batch_seconds: float
    wait: bool
    workers: int | Literal["auto"]
    nice: int
    max_pending: int | None
    max_pending_bytes: int
    item_timeout: float
    redeliver_times: int
    worker_max_items: int
    worker_memory_limit_mb: int
    restart_intensity: int | None
    restart_period: float
