from __future__ import annotations

from collections.abc import Sequence

import pytest

from .case import Case
from .combos import Combo
from .launch import Recording, record


class Recordings:
    """Runs all selected cases of a combination in one runner, when the first is asked for."""

    def __init__(self, selected: Sequence[tuple[Case, Combo]]) -> None:
        self._selected = selected
        self._records: dict[Combo, tuple[dict[str, Recording], list[str]]] = {}

    def of(self, case: Case, combo: Combo) -> Recording:
        return self._record(combo)[0][case.name]

    def left_behind(self, combo: Combo) -> list[str]:
        return self._record(combo)[1]

    def _record(self, combo: Combo) -> tuple[dict[str, Recording], list[str]]:
        if combo not in self._records:
            names = [case.name for case, its_combo in self._selected if its_combo == combo]
            self._records[combo] = record(combo, names)
        return self._records[combo]


@pytest.fixture(scope="session")
def recordings(request: pytest.FixtureRequest) -> Recordings:
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return Recordings(
        [(call["case"], call["combo"]) for call in calls if {"case", "combo"} <= call.keys()]
    )
