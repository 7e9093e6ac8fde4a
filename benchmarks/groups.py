"""What is measured: groups of runs that differ in the peer alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.drive import Spec
from benchmarks.peers import OURS, PEERS
from benchmarks.work import make_items

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

LIMIT = "pickle, copy, unpickle"
ALL = tuple(name for name in (OURS, *PEERS) if name != LIMIT)
POOLS = tuple(name for name in ALL if name not in ("to_thread", "inline"))
#: Peers that need a small number of items to end within the hour.
SLOW = {"Dask local": 0.05}


@dataclass(frozen=True)
class Group:
    """Runs of one kind of item.

    Attributes:
        section: which argument of the command selects it.
        spec: of the run, for every peer.
        peers: who takes part.
        ideal: items a second that nobody can exceed, if that is known.
    """

    section: str
    title: str
    spec: Spec
    peers: Sequence[str] = ALL
    ideal: float | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: SLOW)

    def spec_of(self, peer: str) -> Spec:
        """The run of one peer, with fewer items where it is slow."""
        share = self.shares.get(peer, 1.0)
        count, warm_up = int(self.spec.count * share), int(self.spec.warm_up * share)
        # Some peers start their workers with the first items.
        warm_up = max(warm_up, 2 * self.spec.workers)
        return replace(self.spec, peer=peer, count=max(count, 1), warm_up=warm_up)


def timed(title: str, seconds: float, count: int) -> Group:
    """Items that use a core for a while, all for the same time."""
    spec = Spec("", "burn", "timed", count, {"seconds": seconds}, warm_up=count // 10)
    return Group("overhead", title, replace(spec, workers=CORES), ideal=CORES / seconds, shares={})


def mixed(count: int) -> Group:
    """Items that use a core for very different times."""
    spec = Spec("", "burn", "mixed", count, workers=CORES, warm_up=2 * CORES)
    seconds = [item["seconds"] for item in make_items("mixed", spec.warm_up + count)()]
    ideal = CORES * count / sum(seconds[spec.warm_up :])
    return Group("overhead", "1 to 200 ms", spec, POOLS, ideal, shares={})


def payload(title: str, size: int, count: int, window: int) -> Group:
    """Items that carry much and change little; so many that even the fastest takes a second or
    two, or there would be too few looks at how late the loop is."""
    options: dict[str, Any] = {"size": size}
    spec = Spec("", "add_field", "pages", count, options, CORES, window, count // 10, lag=True)
    shares = dict.fromkeys(POOLS, 1 / 6) | {OURS: 1.0, "Dask local": 1 / 30}
    return Group("payload", title, spec, (*POOLS, LIMIT), shares=shares)


def scale(workers: int) -> Group:
    """Items that take 10 ms and no CPU: what does it take to feed so many workers?"""
    spec = Spec("", "sleep", "timed", 300 * workers, {"seconds": 0.01}, workers)
    spec = replace(spec, window=8 * workers + 64, warm_up=4 * workers)
    return Group("scale", f"{workers} workers", spec, (OURS,), workers / 0.01)


GROUPS = (
    Group("overhead", "no-op, 1 KB", Spec("", "nothing", "small", 40_000, workers=CORES)),
    timed("1 ms", 0.001, 6_000),
    timed("10 ms", 0.01, 1_000),
    mixed(400),
    payload("10 KB", 10_000, 60_000, 256),
    payload("100 KB", 100_000, 12_000, 128),
    payload("1 MB", 1_000_000, 1_800, 32),
    payload("10 MB", 10_000_000, 240, 8),
    *(scale(workers) for workers in (1, 2, 4, 8, 16, 32, 64)),
)
