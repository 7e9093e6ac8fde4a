from __future__ import annotations

from pathlib import Path

import pytest
from pool.conftest import kept_by_multiprocessing, make_bench, start_script  # noqa: F401 - fixtures

#: How much of the long tests a run does: (plain, full).
FULL = pytest.mark.full


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``-m full`` runs the long form of a test instead of the short one, and all others too."""
    if config.getoption("markexpr") == "full":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent) and "short" not in item.keywords:
                item.add_marker("full")
