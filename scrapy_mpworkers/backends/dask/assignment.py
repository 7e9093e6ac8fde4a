"""Decides which worker process fills which slot of a level. Pure: no cluster, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def next_assignment(
    taken: Mapping[int, str],
    workers: Iterable[str],
    threads: Mapping[str, int],
    slots: int,
    keyed: bool,
) -> tuple[int, str] | None:
    """Return which slot is to be filled next, and the address of the worker that is to fill it;
    ``None`` if there is nothing to be done.

    Args:
        taken: the slots that are filled, and by whom.
        workers: addresses of the workers that there are, the oldest first.
        threads: how many worker threads each has, those of other levels included.
        slots: that the level has; 0: one for each worker.
        keyed: whether each slot must be filled, so that a worker may have to fill several: equal
            keys belong to one slot for good.
    """
    if slots and len(taken) >= slots:
        return None
    own = Counter(taken.values())
    free = [address for address in workers if keyed or not own[address]]
    if not free:
        return None
    slot = min(set(range(len(taken) + 1)) - taken.keys())
    return slot, min(free, key=lambda address: (own[address], threads.get(address, 0)))
