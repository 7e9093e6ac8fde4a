from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Served


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job files of a test are its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()
