"""Finds the Python interpreter with which processes are begun."""

from __future__ import annotations

import os
import sys
from multiprocessing import spawn
from typing import Any

from scrapy_mpworkers.errors import SettingError


def interpreter(setting: str, instead: str) -> str:
    """Return the path of the interpreter, which ``multiprocessing.set_executable`` changes.

    A frozen program, such as PyInstaller makes, is its own ``sys.executable``: it would run once
    more, start its crawl, and so begin itself again and again.

    Args:
        setting: what asks for an interpreter, such as ``MPWORKERS_DASK_ADDRESS is None``.
        instead: what works without one.

    Raises:
        SettingError: there is none.
    """
    chosen: Any = spawn.get_executable()
    path = os.fsdecode(chosen or "")
    if path and not (path == sys.executable and getattr(sys, "frozen", False)):
        return path
    has = "is frozen, and so would run itself" if path else "has no sys.executable to run"
    raise SettingError(
        f"{setting}, for which workers need a Python interpreter, but this program {has}: set "
        f"{instead}, or name an interpreter by multiprocessing.set_executable()."
    )
