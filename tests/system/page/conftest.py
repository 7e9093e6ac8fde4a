from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .browser import Window, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def window() -> Iterator[Window]:
    if reason := why_not():
        pytest.skip(reason)
    window = Window()
    yield window
    window.close()
