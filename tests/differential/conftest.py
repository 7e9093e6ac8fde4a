from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from .case import Case
from .combos import Combo
from .launch import Recording, record


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``-m full`` runs every combination, so also those of the plain run."""
    if config.getoption("markexpr") == "full":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker("full")


class Recordings:
    """Runs a combination's selected cases, all in one runner; two combinations at a time.

    Two, since most of a short crawl is the start of its workers, which is one process importing.
    """

    def __init__(self, selected: Sequence[tuple[Case, Combo]]) -> None:
        self._selected = selected
        self._executor = ThreadPoolExecutor(max_workers=2)
        self._records: dict[Combo, Future[tuple[dict[str, Recording], list[str]]]] = {}

    def of(self, case: Case, combo: Combo) -> Recording:
        return self._record(combo)[0][case.name]

    def left_behind(self, combo: Combo) -> list[str]:
        return self._record(combo)[1]

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _record(self, combo: Combo) -> tuple[dict[str, Recording], list[str]]:
        for one in dict.fromkeys([*(combo for _, combo in self._selected), combo]):
            if one not in self._records:
                names = [case.name for case, its_combo in self._selected if its_combo == one]
                self._records[one] = self._executor.submit(record, one, names)
        return self._records[combo].result()


@pytest.fixture(scope="session")
def recordings(request: pytest.FixtureRequest) -> Iterator[Recordings]:
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    made = Recordings([(call["case"], call["combo"]) for call in calls if "case" in call])
    yield made
    made.close()
