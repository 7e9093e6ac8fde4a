"""Whatever runs inline runs in workers, with the same outcome."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product, starmap
from typing import TYPE_CHECKING

import pytest

from .case import Case
from .catalogue import CASES
from .combos import METHODS, MODES, Combo, combos_of, is_plain
from .compare import faults
from .conftest import Recordings
from .runner import INLINE, OFFLOADED

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


def crawls() -> Iterator[ParameterSet]:
    for index, case in enumerate(CASES):
        for combo in combos_of(case):
            marks = [] if is_plain(index, case, combo) else [pytest.mark.full]
            yield pytest.param(case, combo, marks=marks, id=f"{case.name}-{combo}")


@pytest.mark.parametrize(("case", "combo"), list(crawls()))
def test_offloaded_crawl_has_the_inline_outcome(
    case: Case, combo: Combo, recordings: Recordings
) -> None:
    recording = recordings.of(case, combo)
    if recording.problem:
        pytest.fail(recording.report([recording.problem]), pytrace=False)

    found = faults(case, recording.outcomes[INLINE], recording.outcomes[OFFLOADED])

    if found:
        pytest.fail(recording.report(found), pytrace=False)


@pytest.mark.parametrize("combo", list(starmap(Combo, product(MODES, METHODS))), ids=str)
def test_crawls_leave_nothing_behind_and_their_process_ends(
    combo: Combo, recordings: Recordings
) -> None:
    assert recordings.left_behind(combo) == []
