"""The metrics as stats, all under ``mpworkers/``, as a line of the log now and then, and as a table
with one advice at the end."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.metrics import Distribution, Metrics, TaskCounts
from scrapy_mpworkers.wire.messages import TaskStatus

#: Parent CPU for shipping one small item, measured at about 0.1 ms: cheaper items gain nothing.
_SHIPPING_SECONDS = 0.0002

if TYPE_CHECKING:
    from scrapy_mpworkers.status.snapshot import LevelSnapshot

_PERCENTS = (50, 95, 99)

#: Seconds of all workers together, below which their start alone decides the shares.
_ENOUGH_SECONDS = 4.0


def publish(levels: Sequence[Level], items: TaskCounts, stats: StatsCollector) -> None:
    """Set every stat to what it is now: of all levels together, and of each that has a name.

    Args:
        items: counts each item of the crawl once.
    """
    metrics = Metrics.of_all([level.executor.metrics for level in levels])
    values = _values(metrics) | _counts("items", items)
    for hop in metrics.item_hops:
        values |= _counts(f"hops/{hop}", metrics.hops[hop])
    for level in levels:
        if level.settings.name:
            of_level = _values(level.executor.metrics)
            values |= {f"{level.settings.name}/{name}": of_level[name] for name in of_level}
    for name, value in values.items():
        stats.set_value(f"mpworkers/{name}", value)


def _values(metrics: Metrics) -> dict[str, Any]:
    values: dict[str, Any] = _counts("items", metrics.items)
    if metrics.calls.submitted:
        values |= _counts("calls", metrics.calls)
        values["calls/cancelled"] = metrics.calls.cancelled
    values |= {
        "items/redelivered": metrics.redelivered,
        "workers/started": metrics.started,
        "workers/deaths": sum(metrics.deaths.values()),
        **{f"workers/deaths/{cause}": count for cause, count in metrics.deaths.items()},
        **{f"workers/recycled/{why}": count for why, count in metrics.recycled.items()},
        "bytes/shipped": metrics.bytes_shipped,
        "bytes/returned": metrics.bytes_returned,
        "time/busy_s": round(sum(worker.busy for worker in metrics.workers), 3),
        "pool/utilisation": round(metrics.utilisation(monotonic()), 4),
    }
    for name, times in (("wait_s", metrics.wait), ("service_s", metrics.service)):
        found = zip(_PERCENTS, times.percentiles(*_PERCENTS), strict=True)
        values |= {f"time/{name}/p{percent}": round(seconds, 6) for percent, seconds in found}
    return values


def _counts(kind: str, tally: TaskCounts) -> dict[str, int]:
    statuses = {f"{kind}/{status.name.lower()}": tally.settled[status] for status in TaskStatus}
    return {f"{kind}/submitted": tally.submitted, **statuses}


def progress(level: LevelSnapshot) -> str:
    """One line while the crawl runs."""
    busy = sum(worker.state == "busy" for worker in level.workers)
    ready = sum(worker.state in ("busy", "idle", "retiring") for worker in level.workers)
    of_level = f" of the level {level.name}" if level.name else ""
    return (
        f"Workers{of_level}: {busy} of {ready} busy, {max(0, level.pending - busy)} items waiting, "
        f"{level.items.done} done ({level.per_minute:.0f} items/min)"
    )


def table(metrics: Metrics, now: float, cpus: int, has_batches: bool = False) -> str:
    """The closing table and its advice.

    Args:
        cpus: those that the crawl may use.
        has_batches: whether items go through together. What one of them takes is no measure then:
            inline there would be a batch for each.
    """
    shares = ", ".join(
        f"{worker.busy / worker.lived(now):.0%}" if worker.lived(now) else "-"
        for worker in metrics.workers
    )
    rows = [
        ("items", _statuses(metrics.items)),
        ("calls", _statuses(metrics.calls) if metrics.calls.submitted else ""),
        ("redelivered", f"{metrics.redelivered}" if metrics.redelivered else ""),
        ("workers", f"{metrics.started} started, {sum(metrics.deaths.values())} died"),
        ("busy", shares),
        ("wait", _percentiles(metrics.wait)),
        ("service", _percentiles(metrics.service)),
        ("bytes", f"{_size(metrics.bytes_shipped)} out, {_size(metrics.bytes_returned)} back"),
        ("advice", advice(metrics, now, cpus, has_batches)),
    ]
    return "\n".join(f"  {name:<12}{text}" for name, text in rows if text)


def advice(metrics: Metrics, now: float, cpus: int, has_batches: bool = False) -> str:
    """One sentence drawn from the figures."""
    share = metrics.utilisation(now)
    service = metrics.service
    if not service.count:
        return _without_outcomes(metrics)
    if sum(worker.lived(now) for worker in metrics.workers) < _ENOUGH_SECONDS:
        return "too short a crawl to judge."
    if (
        not has_batches
        and service.count >= 20
        and service.total / service.count < _SHIPPING_SECONDS
    ):
        return (
            f"items take {_time(service.total / service.count)} on average, less than their "
            "shipping: inline (ITEM_PIPELINES) would be faster."
        )
    if share > 0.85 and len(metrics.workers) < cpus:
        return f"workers were busy {share:.0%} of the time: more workers would help."
    if share > 0.85:
        return (
            f"workers were busy {share:.0%} of the time, and every CPU ({cpus}) has one: "
            "more would help only if the pipelines wait for something rather than compute."
        )
    if share < 0.3 and len(metrics.workers) > 1:
        return (
            f"workers idled {1 - share:.0%} of the time: the crawl is bound elsewhere (network, "
            "delays, the spider's own callbacks), fewer workers would do."
        )
    return f"workers were busy {share:.0%} of the time: a good fit."


def _without_outcomes(metrics: Metrics) -> str:
    """Why no worker has got anything done."""
    if not metrics.items.submitted + metrics.calls.submitted:
        return "no items came."
    if not metrics.deaths:
        return "no worker got an item done: the errors above say why."
    ways = ", ".join(f"{count} × {way}" for way, count in metrics.deaths.most_common())
    return (
        f"no worker got an item done, {metrics.deaths.total()} died ({ways}): run the pipelines in "
        "Scrapy's own process to see why, -s MPWORKERS_WORKERS=0."
    )


def _statuses(tally: TaskCounts) -> str:
    names = {status: status.name.lower().replace("_", "-") for status in TaskStatus}
    counts = [
        f"{tally.settled[status]} {name}"
        for status, name in names.items()
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
