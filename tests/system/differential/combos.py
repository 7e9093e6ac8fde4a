"""Which case runs in which loop mode, with workers started by which method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .case import Case

#: The asyncio reactor; the platform's own reactor (``TWISTED_REACTOR = None``); no reactor at all.
MODES = ("asyncio", "default", "none")
METHODS = ("forkserver", "spawn", "fork")


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
    """A Latin square: each case meets each mode once, by another method each time.

    Three cases in a row meet all nine combinations. One that is to run once does so by a method
    that starts a worker fast, three in a row in all modes.
    """
    if case.once:
        return combo == Combo(MODES[index % 3], ("forkserver", "fork")[index % 2])
    return METHODS[(index + MODES.index(combo.mode)) % len(METHODS)] == combo.method
