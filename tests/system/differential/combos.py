"""Which case runs in which loop mode, with workers started by which method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .case import Case

#: The asyncio reactor; the platform's own reactor (``TWISTED_REACTOR = None``); no reactor at all.
MODES = ("asyncio", "default", "none")
METHODS = ("forkserver", "spawn", "fork")
#: Spawned workers import everything again.
METHODS_IN_TURN = ("forkserver", "fork", "forkserver", "fork", "spawn")
#: One case in so many meets each start method in the plain run.
EVERY_METHOD = 12


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
    """Say whether the plain run takes the case in this combination: one for each case, by turns.

    One case in twelve meets every start method there, which ``METHODS_IN_TURN`` has by its price.
    """
    modes = [mode for mode in MODES if mode not in case.excluded]
    if combo.mode != modes[index % len(modes)]:
        return False
    if index % EVERY_METHOD == 0 and not case.once:
        return True
    return combo.method == METHODS_IN_TURN[index % len(METHODS_IN_TURN)]
