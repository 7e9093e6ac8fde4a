"""Every MPWORKERS_ setting: its name, default and check."""

from __future__ import annotations

import difflib
import inspect
import logging
import math
import multiprocessing
import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from scrapy.settings import BaseSettings

from scrapy_mpworkers.errors import SettingError

logger = logging.getLogger(__name__)

_PREFIX = "MPWORKERS_"

#: Native libraries read these when they are imported; each would take all CPUs for itself.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

Entry = Any  # an import path, a class or a function


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of one crawl, checked. Times are in seconds.

    ``pipelines`` are (entry, order) in order, without those that are disabled by ``None``.
    """

    enabled: bool
    pipelines: tuple[tuple[Entry, Any], ...]
    workers: int
    start_method: str
    nice: int
    max_pending: int
    max_pending_bytes: int
    item_timeout: float
    redeliver_times: int
    worker_max_items: int
    worker_memory_limit_mb: int
    restart_intensity: int
    restart_period: float
    close_timeout: float
    dead_letters: Path | None
    journal: bool


def read_settings(settings: BaseSettings) -> WorkerSettings:
    """Read and check all of them.

    Raises:
        SettingError: in one sentence: the setting, its value, what is accepted.
    """
    workers = _read(settings, "WORKERS", "auto", _workers)
    return WorkerSettings(
        enabled=_read(settings, "ENABLED", True, _flag),
        pipelines=_read(settings, "PIPELINES", {}, _pipelines),
        workers=workers,
        start_method=_read(settings, "START_METHOD", None, _start_method),
        nice=_read(settings, "NICE", 5, _nice),
        max_pending=_read(settings, "MAX_PENDING", None, _auto(_positive, max(256, 64 * workers))),
        max_pending_bytes=_read(settings, "MAX_PENDING_BYTES", 64 << 20, _positive),
        item_timeout=_read(settings, "ITEM_TIMEOUT", 0, _seconds_or_off),
        redeliver_times=_read(settings, "REDELIVER_TIMES", 2, _count),
        worker_max_items=_read(settings, "WORKER_MAX_ITEMS", 0, _count),
        worker_memory_limit_mb=_read(settings, "WORKER_MEMORY_LIMIT_MB", 0, _count),
        restart_intensity=_read(
            settings, "RESTART_INTENSITY", None, _auto(_count, max(12, 4 * workers))
        ),
        restart_period=_read(settings, "RESTART_PERIOD", 30, _seconds),
        close_timeout=_read(settings, "CLOSE_TIMEOUT", 60, _seconds),
        dead_letters=_read(settings, "DEAD_LETTERS", None, _path),
        journal=_read(settings, "JOURNAL", False, _flag_with(settings, "JOBDIR")),
    )


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, bounded by the quota of its cgroup."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def thread_variables(workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """A share of the CPUs for each worker's native threads, unless the user has set them."""
    share = str(max(1, usable_cpus() // max(1, workers)))
    return {name: share for name in _THREAD_VARIABLES if name not in environment}


def import_path(entry: Entry) -> str:
    """How a user would write *entry* as a string."""
    return entry if isinstance(entry, str) else f"{entry.__module__}.{entry.__qualname__}"


class _Unacceptable(Exception):
    """Its text is what would be accepted."""


_T = TypeVar("_T")


def _read(settings: BaseSettings, name: str, default: Any, check: Callable[[Any], _T]) -> _T:
    value = settings.get(_PREFIX + name, default)
    if value == "" and default is None:
        value = None  # as "-s NAME=" on a command line, which has no other way to say it
    try:
        return check(value)
    except _Unacceptable as accepted:
        raise SettingError(f"{_PREFIX}{name} is {value!r}, but it must be {accepted}.") from None


def _workers(value: Any) -> int:
    if value == "auto":
        return usable_cpus()
    return _integer(value, 0, '"auto", or a whole number from 0 (0: run in this process)')


def _flag(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in known:
        raise _Unacceptable("True or False")
    return known[str(value).lower()]


def _flag_with(settings: BaseSettings, other: str) -> Callable[[Any], bool]:
    def checked(value: Any) -> bool:
        if _flag(value) and not settings.get(other):
            raise _Unacceptable(f"False while {other} is not set, as it is kept in that folder")
        return _flag(value)

    return checked


def _path(value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise _Unacceptable("None or the path of a file")
    # At once absolute: a crawl may change its working directory.
    return Path(value).absolute()


def _start_method(value: Any) -> str:
    available = multiprocessing.get_all_start_methods()
    if value is None:
        return "forkserver" if "forkserver" in available else "spawn"
    if value not in available:
        raise _Unacceptable(f"None or one of {', '.join(sorted(available))} on this system")
    return str(value)


def _nice(value: Any) -> int:
    return _integer(value, 0, "a whole number from 0 to 19", 19)


def _count(value: Any) -> int:
    return _integer(value, 0, "a whole number from 0")


def _positive(value: Any) -> int:
    return _integer(value, 1, "a whole number from 1")


def _auto(check: Callable[[Any], int], automatic: int) -> Callable[[Any], int]:
    def checked(value: Any) -> int:
        if value is None:
            return automatic
        try:
            return check(value)
        except _Unacceptable as accepted:
            raise _Unacceptable(f"None (automatic), or {accepted}") from None

    return checked


def _integer(value: Any, least: int, accepted: str, most: float = math.inf) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        raise _Unacceptable(accepted) from None
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise _Unacceptable(accepted)
    return number


def _seconds(value: Any) -> float:
    number = _number(value)
    if number is None or not 0 < number < 1e9:
        raise _Unacceptable("a number of seconds above 0")
    return number


def _seconds_or_off(value: Any) -> float:
    number = _number(value)
    if number is None or not 0 <= number < 1e9:
        raise _Unacceptable("a number of seconds, or 0 for no limit")
    return number


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return float(number) if is_number else None


def _pipelines(value: Any) -> tuple[tuple[Entry, Any], ...]:
    accepted = (
        "a dict like ITEM_PIPELINES: import paths, classes or functions as keys, "
        "numbers (or None to disable one) as values"
    )
    try:
        entries = dict(BaseSettings({"it": value}).getdict("it"))
    except (ValueError, TypeError):
        raise _Unacceptable(accepted) from None
    for entry, order in entries.items():
        is_entry = isinstance(entry, (str, type)) or inspect.isfunction(entry)
        is_order = isinstance(order, numbers.Real) and not isinstance(order, bool)
        if not is_entry or not (order is None or is_order):
            raise _Unacceptable(accepted)
    enabled = [(entry, order) for entry, order in entries.items() if order is not None]
    paths = [import_path(entry) for entry, _ in enabled]
    if len(set(paths)) != len(paths):
        raise _Unacceptable("without a pipeline that is listed twice")
    return tuple(sorted(enabled, key=lambda pair: pair[1]))


_KNOWN = {_PREFIX + field.name.upper() for field in fields(WorkerSettings)}


def warn_of_unknown_names(settings: BaseSettings) -> None:
    """Log a warning for each MPWORKERS_ name that is not a setting, with the nearest that is."""
    for name in settings:
        if isinstance(name, str) and name.startswith(_PREFIX) and name not in _KNOWN:
            nearest = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0)[0]
            logger.warning("There is no setting %s. Did you mean %s?", name, nearest)


def _cgroup_quota(root: Path) -> float | None:
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
