"""Two outcomes of one case, compared: pure functions over JSON data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .case import Case

#: Each aspect is a list of lines whose order is not part of the outcome.
ASPECTS = (
    "feed",
    "scraped",
    "identity",
    "yielded",
    "results",
    "errors",
    "dropped",
    "failed",
    "exception_attributes",
    "logs",
    "log_templates",
    "stats",
)
_STAYS = "runs in Scrapy's own process from now on"
_ENDS = ("done", "dropped", "failed", "dead_lettered")

Outcome = Mapping[str, Any]


def faults(case: Case, inline: Outcome, offloaded: Outcome) -> list[str]:
    """Return all that speaks against an offloaded crawl: nothing, if it is as the inline one."""
    return [
        *unmet_expectations(case, inline),
        *broken_books(case, offloaded),
        *differences(inline, offloaded, case.not_compared),
    ]


def differences(
    inline: Outcome, offloaded: Outcome, not_compared: Collection[str] = ()
) -> list[str]:
    """Every line that one of the two has and the other has not, or not as often."""
    return [
        difference
        for aspect in ASPECTS
        if aspect not in not_compared
        for difference in _difference(aspect, inline[aspect], offloaded[aspect])
    ]


def _difference(aspect: str, inline: list[str], offloaded: list[str]) -> Iterator[str]:
    expected, got = Counter(inline), Counter(offloaded)
    for line, times in sorted((expected - got).items()):
        yield f"{aspect}: only inline ({times} times): {line}"
    for line, times in sorted((got - expected).items()):
        yield f"{aspect}: only offloaded ({times} times): {line}"


def unmet_expectations(case: Case, inline: Outcome) -> list[str]:
    """Where the inline crawl is not what the case says, so that comparing proves something else."""
    counts = {
        "scraped": case.expected.scraped,
        "dropped": case.expected.dropped,
        "failed": case.expected.failed,
        "feed": case.expected_feed_lines,
    }
    unmet = [
        f"inline: {len(inline[aspect])} {aspect}, {count} expected"
        for aspect, count in counts.items()
        if len(inline[aspect]) != count
    ]
    return unmet + [f"inline: used the pool: {inline['pool']}"] * bool(inline["pool"])


def broken_books(case: Case, offloaded: Outcome) -> list[str]:
    """Where the pool's stats do not show that workers took each item and callback, and settled it
    once."""
    pool = {key.removeprefix("mpworkers/"): value for key, value in offloaded["pool"].items()}
    counted = {name.rpartition("/")[0] for name in pool if name.endswith("/submitted")}
    unsettled = [
        kind
        for kind in counted
        if pool[f"{kind}/submitted"] != sum(pool.get(f"{kind}/{end}", 0) for end in _ENDS)
    ]
    crossed = sum(pool[f"{kind}/submitted"] for kind in counted if kind.startswith("hops/"))
    items = pool.get("items/submitted", 0)
    called = pool.get("callbacks/submitted", 0)
    stay = sum(_STAYS in line for line in offloaded["own_lines"])
    most = case.workers * max(1, len(case.levels))
    checks = {
        # One under spawn, where each costs a second of imports.
        f"1 to {most} workers started": 0 < pool.get("workers/started", 0) <= most,
        "no worker died": pool.get("workers/deaths", 0) == 0,
        f"{case.expected_submitted} items came to hops": crossed == case.expected_submitted,
        f"{case.called} callbacks ran in workers": called == case.called,
        f"{case.stays} callbacks stay": stay == case.stays,
        "each item is counted once": bool(crossed) <= items <= min(crossed, case.expected.items),
        "submitted = done + dropped + failed + dead_lettered": not unsettled,
        "nothing given up": not any(pool.get(f"{kind}/dead_lettered", 0) for kind in counted),
        "bytes shipped": pool.get("bytes/shipped", 0) > 0,
    }
    return [f"offloaded: not true: {fact}; {pool}" for fact, held in checks.items() if not held]
