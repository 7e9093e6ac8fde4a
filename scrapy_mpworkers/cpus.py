"""How many CPUs this process may use, and how workers share them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

#: Native libraries read these when they are imported; each would take all CPUs for itself.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, bounded by the quota of its cgroup."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def thread_variables(workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """A share of the CPUs for each worker's native threads, unless the user has set them."""
    share = str(max(1, usable_cpus() // max(1, workers)))
    return {name: share for name in _THREAD_VARIABLES if name not in environment}


def cgroup_quota(root: Path) -> float | None:
    """CPUs' worth of time that the cgroup may use: v2's cpu.max, or v1's two files."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
