"""A snapshot pictures what the workers of a crawl are at. All that shows them reads it."""

from __future__ import annotations

from typing import Any, NamedTuple


class TaskSnapshot(NamedTuple):
    """An item, call or callback that a worker is at.

    Attributes:
        kind: ``item``, ``call`` or ``callback``.
        hop: number of the hop that it goes to, -1 for a call, -2 for a callback.
        label: an item's url, id or first field, a call's function, or a callback's name and url; in
            ASCII.
        seconds: how long it has been running.
    """

    id: int
    kind: str
    hop: int
    label: str
    seconds: float


class SlowTaskSnapshot(NamedTuple):
    """One of the tasks that took longest. ``at``: when it was over, UNIX seconds."""

    id: int
    kind: str
    hop: int
    label: str
    seconds: float
    worker: str
    at: float


class WorkerSnapshot(NamedTuple):
    """A worker now.

    Attributes:
        pid: ``None`` before its process is there, and for one on another machine.
        state: ``starting``, ``opening``, ``idle``, ``busy``, ``retiring``, ``closing``, ``dead``.
        task: what it is at, if that is a task of this crawl.
        settled: tasks that it has done, of all crawls.
        busy_seconds: that workers in its place have been at tasks of this crawl.
        restarts: workers that were in its place before.
        cpu_percent: of one CPU, since the sample before; ``None`` as long as there is none.
        rss_bytes, pss_bytes: resident memory; proportional, if somebody has asked for it.
        sampled_ago: seconds since CPU and memory were measured.
    """

    name: str
    pid: int | None
    state: str
    task: TaskSnapshot | None
    settled: int
    busy_seconds: float
    restarts: int
    cpu_percent: float | None
    rss_bytes: int | None
    pss_bytes: int | None
    sampled_ago: float | None


class Percentiles(NamedTuple):
    """Seconds that 50, 95 and 99 % of the tasks did not exceed."""

    p50: float
    p95: float
    p99: float


class Counts(NamedTuple):
    """Items, calls or callbacks, by what became of them."""

    submitted: int
    done: int
    dropped: int
    failed: int
    dead_lettered: int
    cancelled: int
    redelivered: int = 0


class LevelSnapshot(NamedTuple):
    """A level now.

    Attributes:
        name: empty for the only one.
        pending, pending_bytes: what is shipped or waits to be, and has no outcome yet; with the
            bounds on that.
        at_the_door: items of these that wait for room.
        is_braking: whether downloads wait for the workers.
        per_second: tasks settled in the last whole second.
        per_minute: tasks settled in the last minute, or what a minute would have.
        calls, callbacks: ``None`` if there were none.
        wait: before a worker began with a task; ``None`` before the first outcome.
        service: what the workers took for it.
        utilisation: busy share of the workers' time, 0 to 1.
    """

    name: str
    pending: int
    max_pending: int
    pending_bytes: int
    max_pending_bytes: int
    at_the_door: int
    is_braking: bool
    per_second: float
    per_minute: float
    items: Counts
    calls: Counts | None
    callbacks: Counts | None
    wait: Percentiles | None
    service: Percentiles | None
    utilisation: float
    workers: tuple[WorkerSnapshot, ...]


class Event(NamedTuple):
    """Something that happened to a worker.

    Attributes:
        at: UNIX seconds.
        kind: ``death``, ``redelivery``, ``dead_letter``, ``recycled`` or ``broken``.
        level, worker: their names.
        text: one sentence.
        label: of the item, call or callback that the worker was at.
        elapsed: seconds since the workers were first asked for; unlike ``at``, they stay the same
            when the clock is set.
    """

    at: float
    kind: str
    level: str
    worker: str
    text: str
    label: str
    elapsed: float


class Snapshot(NamedTuple):
    """The workers of one crawl now.

    Attributes:
        taken_at: UNIX seconds.
        spider: its name.
        pid: of Scrapy's process.
        elapsed: seconds since the workers were first asked for.
        state: ``starting``, ``running``, ``closing``, ``stopped`` or ``broken``.
        slowest: of all levels, slowest first.
        events: of all levels, oldest first.
        verdict: one sentence on what the crawl waits for; empty while too little is known.
    """

    taken_at: float
    spider: str
    pid: int
    elapsed: float
    state: str
    levels: tuple[LevelSnapshot, ...]
    slowest: tuple[SlowTaskSnapshot, ...]
    events: tuple[Event, ...]
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON has it."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(values: Any) -> Any:
    plain = [_plain(one) if isinstance(one, tuple) else one for one in values]
    return dict(zip(values._fields, plain, strict=True)) if hasattr(values, "_fields") else plain
