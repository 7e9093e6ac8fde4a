"""The metrics as stats, all under ``mpworkers/``, as a line of the log now and then, and as tables
at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING, Any

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.metrics import Distribution, Metrics, TaskCounts
from scrapy_mpworkers.wire.messages import TaskStatus

if TYPE_CHECKING:
    from scrapy_mpworkers.status.snapshot import LevelSnapshot, SlowTaskSnapshot

#: Of the names of our stats.
PREFIX = "mpworkers/"
_PERCENTS = (50, 95, 99)

#: Seconds from which on a progress line names the item that a worker is at; and how many of the
#: slowest items the closing table has.
_LONG, _SLOWEST = 10.0, 3


def publish(levels: Sequence[Level], items: TaskCounts, stats: StatsCollector) -> None:
    """Set every stat to what it is now: of all levels together, and of each that has a name.

    Args:
        items: counts each item of the crawl once.
    """
    metrics = Metrics.of_all([level.executor.metrics for level in levels])
    running = {level: sum(level.executor.running()) for level in levels}
    values = _values(metrics, sum(running.values())) | _counts("items", items)
    for hop in metrics.item_hops:
        values |= _counts(f"hops/{hop}", metrics.hops[hop])
    for level in levels:
        if level.settings.name:
            of_level = _values(level.executor.metrics, running[level])
            values |= {f"{level.settings.name}/{name}": of_level[name] for name in of_level}
    for name, value in values.items():
        stats.set_value(f"{PREFIX}{name}", value)


def _values(metrics: Metrics, running: float) -> dict[str, Any]:
    values: dict[str, Any] = _counts("items", metrics.items)
    if metrics.calls.submitted:
        values |= _counts("calls", metrics.calls)
        values["calls/cancelled"] = metrics.calls.cancelled
    if metrics.callbacks.submitted:
        values |= _counts("callbacks", metrics.callbacks)
        del values["callbacks/dropped"]  # DropItem, raised there, is an error like any other
    values |= {
        "items/redelivered": metrics.redelivered,
        "workers/started": metrics.started,
        "workers/deaths": sum(metrics.deaths.values()),
        **{f"workers/deaths/{cause}": count for cause, count in metrics.deaths.items()},
        **{f"workers/recycled/{why}": count for why, count in metrics.recycled.items()},
        "bytes/shipped": metrics.bytes_shipped,
        "bytes/returned": metrics.bytes_returned,
        "time/busy_s": round(sum(worker.busy for worker in metrics.workers) + running, 3),
        "pool/utilisation": round(min(1.0, metrics.utilisation(monotonic(), running)), 4),
    }
    for name, times in (("wait_s", metrics.wait), ("service_s", metrics.service)):
        found = zip(_PERCENTS, times.percentiles(*_PERCENTS), strict=True)
        values |= {f"time/{name}/p{percent}": round(seconds, 6) for percent, seconds in found}
    return values


def _counts(kind: str, tally: TaskCounts) -> dict[str, int]:
    statuses = {f"{kind}/{status.name.lower()}": tally.settled[status] for status in TaskStatus}
    return {f"{kind}/submitted": tally.submitted, **statuses}


def progress(level: LevelSnapshot) -> str:
    """Return one line of the log about a level while the crawl runs."""
    of_level = f" of the level {level.name}" if level.name else ""
    counts = level.items
    lost = {"dropped": counts.dropped, "failed": counts.failed, "given up": counts.dead_lettered}
    others = "".join(f", {count} {name}" for name, count in lost.items() if count)
    way = f", {level.pending} on their way" if level.pending else ""
    seconds = level.pending * 60 / level.per_minute if level.per_minute else 0.0
    work = f" (some {seconds:.0f} s of work)" if seconds >= 1 else ""
    tasks = [worker.task for worker in level.workers if worker.task]
    at = max(tasks, key=attrgetter("seconds"), default=None)
    longest = ""
    if at is not None and at.seconds >= _LONG:
        longest = f"; at {at.label or at.kind} for {at.seconds:.0f} s"
    done, unit = f"{counts.done} items done{others}", "items"
    if level.callbacks is not None:
        callbacks = f"{level.callbacks.done} callbacks done"
        done = f"{callbacks}, {done}" if counts.submitted else callbacks
        unit = "tasks"
    return (
        f"Workers{of_level}: {level.utilisation:.0%} busy, {done} "
        f"({level.per_minute:.0f} {unit}/min){way}{work}{longest}"
    )


def tables(
    levels: Sequence[Level], items: TaskCounts, slowest: Sequence[SlowTaskSnapshot], verdict: str
) -> Iterator[str]:
    """Yield the closing tables: one of each level that had workers, and one of all if they are
    several.

    Args:
        items: counts each item of the crawl once.
        slowest: tasks of all levels, slowest first.
        verdict: the advice; empty if there is none.
    """
    has_hops = sum(len(level.executor.metrics.item_hops) for level in levels) > 1
    has_items = items.submitted or not any(
        one.executor.metrics.callbacks.submitted for one in levels
    )
    of_all = [("items", _statuses(items))] if has_items else []
    end = [
        ("" if n else "slowest", f"{_time(one.seconds):<10}{one.label or one.kind}")
        for n, one in enumerate(slowest[:_SLOWEST])
    ]
    end.append(("advice", verdict or "too short a crawl to judge."))
    if len(levels) == 1:
        own = _of_level(levels[0], has_hops)
        yield _table(levels[0].of_level, [*of_all, *own, *end])
        return
    for level in levels:
        yield _table(level.of_level, _of_level(level, has_hops))
    if levels:
        yield _table(" of all levels", of_all + end)


def _of_level(level: Level, has_hops: bool) -> Iterator[tuple[str, str]]:
    metrics, now = level.executor.metrics, monotonic()
    shares = ", ".join(
        f"{min(1.0, worker.busy / worker.lived(now)):.0%}" if worker.lived(now) else "-"
        for worker in metrics.workers
    )
    for hop in metrics.item_hops if has_hops else ():
        yield f"hop {hop}", _statuses(metrics.hops[hop])
    yield "calls", _statuses(metrics.calls) if metrics.calls.submitted else ""
    yield "callbacks", _statuses(metrics.callbacks) if metrics.callbacks.submitted else ""
    yield "redelivered", f"{metrics.redelivered}" if metrics.redelivered else ""
    yield "workers", f"{metrics.started} started, {sum(metrics.deaths.values())} died"
    yield "busy", shares
    yield "wait", _percentiles(metrics.wait)
    yield "service", _percentiles(metrics.service)
    yield "bytes", f"{_size(metrics.bytes_shipped)} out, {_size(metrics.bytes_returned)} back"


def _table(of_level: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = (f"  {name:<12}{text}" for name, text in rows if text)
    return "\n".join([f"Workers' summary{of_level}:", *lines])


def _statuses(tally: TaskCounts) -> str:
    counts = [
        f"{tally.settled[status]} {status.name.lower().replace('_', '-')}"
        for status in TaskStatus
        if tally.settled[status] or status is TaskStatus.DONE
    ]
    counts += [f"{tally.cancelled} cancelled"] * bool(tally.cancelled)
    return f"{tally.submitted} submitted: {', '.join(counts)}"


def _percentiles(times: Distribution) -> str:
    if not times.count:
        return ""
    found = zip(_PERCENTS, times.percentiles(*_PERCENTS), strict=True)
    return ", ".join(f"p{percent} {_time(seconds)}" for percent, seconds in found)


def _time(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
