"""Says what was measured with, and on what."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from benchmarks.groups import CORES

PACKAGES = ("scrapy", "twisted", "loky", "pebble", "mpire", "distributed", "trafilatura")


def heading(runs: int) -> str:
    """The sentence above a table."""
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    kind = f"medians of {runs} interleaved runs" if runs > 1 else "one run"
    return (
        f"Measured on {date.today()}: {kind}; CPython {platform.python_version()}, {CORES} cores; "
        f"{packages}.\n"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
