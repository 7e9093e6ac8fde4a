"""Which case runs in which loop mode, with workers started by which method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .case import Case

#: The asyncio reactor; the platform's own reactor (``TWISTED_REACTOR = None``); no reactor at all.
MODES = ("asyncio", "default", "none")
METHODS = ("forkserver", "spawn", "fork")
#: Of cases that are alike, one in so many is in the plain run.
EVERY = 15
#: By price: spawned workers import everything again.
METHODS_IN_TURN = (
    *("fork", "fork", "fork", "forkserver", "fork", "fork", "spawn", "fork", "fork", "fork"),
    *("forkserver", "fork", "fork", "fork", "fork", "fork", "fork", "forkserver", "fork", "fork"),
)


class Combo(NamedTuple):
    mode: str
    method: str

    def __str__(self) -> str:
        return f"{self.mode}-{self.method}"


def combos_of(case: Case) -> Iterator[Combo]:
    """All combinations in which the case can run inline."""
    for mode in MODES:
        if mode not in case.excluded:
            yield from (Combo(mode, method) for method in METHODS)


def is_plain(index: int, case: Case, combo: Combo) -> bool:
    """Say whether the plain run takes the case in this combination: each case in one, by turns."""
    if case.alike and index % EVERY:
        return False
    modes = [mode for mode in MODES if mode not in case.excluded]
    drawn = (modes[index % len(modes)], METHODS_IN_TURN[index % len(METHODS_IN_TURN)])
    return combo == drawn
