"""Tells the user's own modules from others, and looks into them. Nothing is run, or imported."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from typing import Any

from scrapy_mpworkers.wire.entries import MAINS

_STDLIB = sysconfig.get_path("stdlib")


def loaded(module: str) -> dict[str, Any]:
    """Return the names of a module that is imported already; none if it is not.

    A look into the dict runs no code of the user, as ``__getattr__`` of a module would.
    """
    return getattr(sys.modules.get(module), "__dict__", {})


def is_same_project(one: str, other: str) -> bool:
    """Return whether modules have one top package, or lie side by side in a folder of the user."""
    roots = [name.partition(".")[0] for name in (one, other)]
    if roots[0] == roots[1]:
        return True
    folders = [_folder_of(root) for root in roots]
    return bool(folders[0]) and folders[0] == folders[1]


def _folder_of(root: str) -> str:
    """Return the folder that a top package or module is imported from; empty if installed."""
    file = loaded(root).get("__file__")
    if not isinstance(file, str) or "site-packages" in file or "dist-packages" in file:
        return ""
    is_package = os.path.basename(file).startswith("__init__.")
    folder = os.path.dirname(os.path.dirname(file) if is_package else file)
    return "" if folder.startswith(_STDLIB) else folder


def live_object(path: str) -> Any:
    """Return the object at a dotted path in the modules that are imported, or ``None``."""
    parts = path.lstrip(".").split(".")
    for n in range(len(parts), 0, -1):
        found: Any = sys.modules.get(".".join(parts[:n]))
        if found is not None:
            for part in parts[n:]:
                found = getattr(found, "__dict__", {}).get(part)
            return found
    return None


def source_text(file: str, name: str) -> str:
    """Return the source of a module, also of one in a zip; empty if there is none."""
    lines = linecache.getlines(file)
    if lines or name in MAINS:  # which is another module in a worker
        return "".join(lines)
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    try:
        return loader.get_source(name) or ""  # type: ignore[union-attr]  # of a zip, such as an egg
    except (AttributeError, ImportError, OSError):
        return ""


def is_a(value: Any, *types: type) -> bool:
    """Do as ``isinstance``, but never ask an object that stands for another one for its class."""
    return issubclass(type(value), types)
