from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

import pytest

from .case import Case
from .combos import Combo
from .launch import AT_ONCE, Recording, portion, record


class Recordings:
    """Runs the selected cases of a combination, a portion in one runner, when one is asked for."""

    def __init__(self, selected: Sequence[tuple[Case, Combo]]) -> None:
        self._names: defaultdict[Combo, list[str]] = defaultdict(list)
        for case, combo in selected:
            self._names[combo].append(case.name)
        self._records: dict[tuple[Combo, str], tuple[dict[str, Recording], list[str]]] = {}

    def of(self, case: Case, combo: Combo) -> Recording:
        return self._with(case.name, combo)[0][case.name]

    def left_behind(self, combo: Combo) -> list[str]:
        names = self._names[combo]
        portions = (self._with(name, combo)[1] for name in names[::AT_ONCE])
        return [*chain.from_iterable(portions)]

    def _with(self, name: str, combo: Combo) -> tuple[dict[str, Recording], list[str]]:
        cases = portion(self._names[combo], name)
        key = combo, cases[0]
        if key not in self._records:
            self._records[key] = record(combo, cases)
        return self._records[key]


@pytest.fixture(scope="session")
def recordings(request: pytest.FixtureRequest) -> Recordings:
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return Recordings(
        [(call["case"], call["combo"]) for call in calls if {"case", "combo"} <= call.keys()]
    )
