"""Counts the CPUs that this process may use, and shares them among workers; finds its memory limit.

Linux limits the CPU time and the memory of a process: by its control group and by all above it. See
``cgroups(7)`` and ``proc_pid_mountinfo(5)``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

#: Native libraries read these when they are imported; each would take all CPUs for itself.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, bounded by its cgroups' quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def thread_variables(workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return each worker's share of CPUs for its native threads, unless the user has set it."""
    share = str(max(1, usable_cpus() // max(1, workers)))
    return {name: share for name in _THREAD_VARIABLES if name not in environment}


class _Mount(NamedTuple):
    """A mounted hierarchy of control groups: its topmost group, and the folder of that group."""

    version: int
    group: str
    place: Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPUs' worth of time that this process may use, ``None`` without a quota; *root*
    has ``proc`` and ``sys``."""
    return _least(root, "cpu", _quota)


def memory_limit(root: Path = Path("/")) -> float | None:
    """Return the bytes that this process and its neighbours in a control group may use together,
    ``None`` without a limit."""
    return _least(root, "memory", _limit)


def _least(root: Path, controller: str, read: Callable[[Path, int], float | None]) -> float | None:
    found = [
        limit
        for mount in _mounts(root, controller)
        for folder in _folders(mount, _group(root, mount.version, controller))
        if (limit := read(folder, mount.version)) is not None
    ]
    return min(found, default=None)


def _mounts(root: Path, controller: str) -> list[_Mount]:
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        front, _, behind = line.partition(" - ")
        kind, *options = behind.split() or [""]
        is_its = bool(options) and controller in options[-1].split(",")
        if kind == "cgroup2" or (kind == "cgroup" and is_its):
            group, place = map(_unescaped, front.split()[3:5])
            found.append(_Mount(2 if kind == "cgroup2" else 1, group, root / place.lstrip("/")))
    # A sandbox that has no such file may still have the usual places.
    usual = root / "sys/fs/cgroup"
    return found or [_Mount(2, "/", usual), _Mount(1, "/", usual / controller)]


def _unescaped(text: str) -> str:
    """Replace the octal numbers that stand for blanks and their like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _group(root: Path, version: int, controller: str) -> str:
    """Return the group of this process, as the hierarchy names it."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (version == 2 and number == "0" and not controllers) or (
            version == 1 and controller in controllers.split(",")
        ):
            return path
    return "/"


def _folders(mount: _Mount, group: str) -> Iterator[Path]:
    """Yield the folder of *group* and those above it, as far as they are mounted. If the group is
    not below the mounted top, its name comes from outside of our namespace, and the top is the
    nearest that can be seen."""
    top = mount.group.rstrip("/")
    parts = group[len(top) :].split("/") if f"{group}/".startswith(f"{top}/") else []
    parts = [] if ".." in parts else [part for part in parts if part]
    for count in range(len(parts), -1, -1):
        yield mount.place.joinpath(*parts[:count])


def _quota(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _limit(folder: Path, version: int) -> float | None:
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    try:
        return int((folder / name).read_text())
    except (OSError, ValueError):  # ValueError: "max"
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
