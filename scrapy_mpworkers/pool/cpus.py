"""How many CPUs this process may use, and how workers share them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from scrapy_mpworkers.pool.cgroups import cpu_quota

#: Native libraries read these when they are imported; each would take all CPUs for itself.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, bounded by the quota of its cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def thread_variables(workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """A share of the CPUs for each worker's native threads, unless the user has set them."""
    share = str(max(1, usable_cpus() // max(1, workers)))
    return {name: share for name in _THREAD_VARIABLES if name not in environment}
