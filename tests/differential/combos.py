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


def is_pairwise(index: int, combo: Combo) -> bool:
    """A Latin square: each case meets each mode once, by another method each time.

    Three cases in a row meet all nine combinations.
    """
    return METHODS[(index + MODES.index(combo.mode)) % len(METHODS)] == combo.method
