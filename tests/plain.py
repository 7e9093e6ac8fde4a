"""What the plain run takes of a test's parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def plain_first(values: Iterable[Any], count: int = 1) -> list[Any]:
    """The first of *values*, or the first *count*, are in a plain run, all of them in the full."""
    return [
        value if n < count else pytest.param(*_several(value), marks=pytest.mark.full)
        for n, value in enumerate(values)
    ]


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
