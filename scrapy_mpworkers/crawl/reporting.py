"""What the log says of the figures: a line now and then, and a table with one advice at the end.

Pure: figures in, text out.
"""

from __future__ import annotations

from scrapy_mpworkers.pool.metrics import Distribution, Figures, Tally
from scrapy_mpworkers.wire.messages import Fate

#: Parent CPU for shipping one small item, measured at about 0.1 ms: cheaper items gain nothing.
_SHIPPING_SECONDS = 0.0002

#: Seconds of all workers together, below which their start alone decides the shares.
_ENOUGH_SECONDS = 4.0


def progress(
    of_level: str, figures: Figures, workers: tuple[int, int], pending: int, per_minute: float
) -> str:
    """One line while the crawl runs; *workers*: how many are busy, of how many."""
    busy, ready = workers
    done = figures.items.settled[Fate.DONE]
    waiting = max(0, pending - busy)
    return (
        f"Workers{of_level}: {busy} of {ready} busy, {waiting} items waiting, {done} done "
        f"({per_minute:.0f} items/min)"
    )


def table(figures: Figures, now: float, cpus: int, has_batches: bool = False) -> str:
    """The closing table and its advice.

    Args:
        cpus: those that the crawl may use.
        has_batches: whether items go through together. What one of them takes is no measure then:
            inline there would be a batch for each.
    """
    shares = ", ".join(
        f"{worker.busy / worker.lived(now):.0%}" if worker.lived(now) else "-"
        for worker in figures.workers
    )
    rows = [
        ("items", _fates(figures.items)),
        ("calls", _fates(figures.calls) if figures.calls.submitted else ""),
        ("redelivered", f"{figures.redelivered}" if figures.redelivered else ""),
        ("workers", f"{figures.started} started, {sum(figures.deaths.values())} died"),
        ("busy", shares),
        ("wait", _percentiles(figures.wait)),
        ("service", _percentiles(figures.service)),
        ("bytes", f"{_size(figures.bytes_shipped)} out, {_size(figures.bytes_returned)} back"),
        ("advice", advice(figures, now, cpus, has_batches)),
    ]
    return "\n".join(f"  {name:<12}{text}" for name, text in rows if text)


def advice(figures: Figures, now: float, cpus: int, has_batches: bool = False) -> str:
    """One sentence drawn from the figures."""
    share = figures.utilisation(now)
    service = figures.service
    if not service.count:
        return _without_outcomes(figures)
    if sum(worker.lived(now) for worker in figures.workers) < _ENOUGH_SECONDS:
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
    if share > 0.85 and len(figures.workers) < cpus:
        return f"workers were busy {share:.0%} of the time: more workers would help."
    if share > 0.85:
        return (
            f"workers were busy {share:.0%} of the time, and every CPU ({cpus}) has one: "
            "more would help only if the pipelines wait for something rather than compute."
        )
    if share < 0.3 and len(figures.workers) > 1:
        return (
            f"workers idled {1 - share:.0%} of the time: the crawl is bound elsewhere (network, "
            "delays, the spider's own callbacks), fewer workers would do."
        )
    return f"workers were busy {share:.0%} of the time: a good fit."


def _without_outcomes(figures: Figures) -> str:
    """Why no worker has got anything done."""
    if not figures.items.submitted + figures.calls.submitted:
        return "no items came."
    if not figures.deaths:
        return "no worker got an item done: the errors above say why."
    ways = ", ".join(f"{count} × {way}" for way, count in figures.deaths.most_common())
    return (
        f"no worker got an item done, {figures.deaths.total()} died ({ways}): run the pipelines in "
        "Scrapy's own process to see why, -s MPWORKERS_WORKERS=0."
    )


def _fates(tally: Tally) -> str:
    names = {fate: fate.name.lower().replace("_", "-") for fate in Fate}
    counts = [
        f"{tally.settled[fate]} {name}"
        for fate, name in names.items()
        if tally.settled[fate] or fate is Fate.DONE
    ]
    counts += [f"{tally.cancelled} cancelled"] * bool(tally.cancelled)
    return f"{tally.submitted} submitted: {', '.join(counts)}"


def _percentiles(times: Distribution) -> str:
    if not times.count:
        return ""
    return ", ".join(f"p{p} {_time(times.percentile(p))}" for p in (50, 95, 99))


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
