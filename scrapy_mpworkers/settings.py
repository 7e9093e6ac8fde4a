"""Every MPWORKERS_ setting: its name and default. What each may be is in ``checks``."""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from scrapy.settings import BaseSettings

from scrapy_mpworkers import validators
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.validators import Invalid
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.entries import Entry, Pipelines, import_path, is_named

logger = logging.getLogger(__name__)

_PREFIX = "MPWORKERS_"
#: What stats under ``mpworkers/`` begin with, and a level may not be called.
_TAKEN = frozenset({"items", "calls", "workers", "bytes", "time", "pool"})


class Setting(NamedTuple):
    """A setting: its name without ``MPWORKERS_``, its default, and the check that a value passes.

    The check returns the value to use, or raises a ``validators.Invalid`` with what is accepted.
    """

    name: str
    default: Any
    check: Callable[[Any], Any]


@dataclass(frozen=True)
class PoolSettings:
    """What a level's pool is made of. Times are in seconds."""

    workers: int
    nice: int
    max_pending: int
    max_pending_bytes: int
    item_timeout: float
    redeliver_times: int
    worker_max_items: int
    worker_memory_limit_mb: int
    restart_intensity: int
    restart_period: float


@dataclass(frozen=True)
class LevelSettings:
    """Consumers that share a pool.

    Attributes:
        name: empty for the one level that ``MPWORKERS_PIPELINES`` stands for.
        pipelines: (entry, order) in order, without those that are disabled by ``None``.
        key: a field's name, or a function or its import path: equal keys meet the same worker.
        batch_size: items that go through the pipelines together, at most; 0: each alone.
        batch_seconds: that an item waits for its batch to fill, at most.
        wait: whether an item goes on only when this level has done with it.
    """

    name: str
    pipelines: Pipelines
    pool: PoolSettings
    key: Any = None
    batch_size: int = 0
    batch_seconds: float = 1.0
    wait: bool = True

    @property
    def placement(self) -> Placement:
        """Where its pipelines run."""
        workers, batches = int(self.pool.workers), self.batch_size > 0
        return Placement(workers, self.key is not None, batches, self.wait)


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of one crawl, checked. Times are in seconds.

    ``pool``: what holds for a level that does not say otherwise.
    """

    enabled: bool
    backend: str
    pool: PoolSettings
    levels: tuple[LevelSettings, ...]
    start_method: str
    close_timeout: float
    dead_letters: Path | None
    journal: bool
    initializer: str | None

    @property
    def pipelines(self) -> Pipelines:
        """Those of all levels, in order."""
        listed = [pair for level in self.levels for pair in level.pipelines]
        return tuple(sorted(listed, key=lambda pair: pair[1]))


def read_settings(settings: BaseSettings) -> WorkerSettings:
    """Read and check all settings, those too that a backend declares which is not the chosen one.

    Raises:
        SettingError: in one sentence: the setting, its value, what is accepted.
    """
    read = partial(_read, settings)
    if names := _names_of_others(settings):
        declared = _declared_by_backends()
        read_declared(settings, [declared[name] for name in names if name in declared])
    return WorkerSettings(
        enabled=read("ENABLED", True, validators.flag),
        backend=read("BACKEND", "local", validators.backend),
        pool=_pool(read),
        levels=_levels(settings),
        start_method=read("START_METHOD", None, validators.start_method),
        close_timeout=read("CLOSE_TIMEOUT", 60, validators.seconds),
        dead_letters=read("DEAD_LETTERS", None, validators.path),
        journal=read("JOURNAL", False, validators.flag_with(settings, "JOBDIR")),
        initializer=read("INITIALIZER", None, validators.initializer),
    )


def read_declared(settings: BaseSettings, declared: Iterable[Setting]) -> dict[str, Any]:
    """Read and check the settings that a backend declares.

    Returns:
        their values, by the names without ``MPWORKERS_``.

    Raises:
        SettingError: as in :func:`read_settings`.
    """
    return {setting.name: _read(settings, *setting) for setting in declared}


def levels_with_calls(
    options: WorkerSettings, has_hops: bool
) -> tuple[tuple[LevelSettings, ...], int]:
    """The levels of a crawl, and the index of the one that takes calls of functions.

    That is one of the user's, if any is fit for it; else one of its own behind them, which nobody
    starts before the first call. With workers switched off it is this process.
    """
    levels = options.levels if has_hops else ()
    for number, level in enumerate(levels):
        if level.wait and level.key is None and not level.batch_size:
            return levels, number
    pool = options.pool if options.enabled else replace(options.pool, workers=0)
    return (*levels, LevelSettings("calls" if levels else "", (), pool)), len(levels)


def warn_of_unknown_names(settings: BaseSettings) -> None:
    """Log a warning for each MPWORKERS_ name that is not a setting, with the nearest that is."""
    if names := _names_of_others(settings):
        known = known_names()
        for name in [name for name in names if name not in known]:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            logger.warning("There is no setting %s. Did you mean %s?", name, nearest)


def known_names() -> set[str]:
    """Return the name of every setting that there is, those of installed backends included."""
    return _OWN_NAMES | _declared_by_backends().keys()


def _names_of_others(settings: BaseSettings) -> list[str]:
    ours = [name for name in settings if isinstance(name, str) and name.startswith(_PREFIX)]
    return [name for name in ours if name not in _OWN_NAMES]


def _declared_by_backends() -> dict[str, Setting]:
    """Import all backends, which few crawls need, and gather the settings that they declare."""
    declared: dict[str, Setting] = {}
    for backend in validators.backends().values():
        with suppress(Exception):  # one that cannot be imported says why to whoever chooses it
            rows: Iterable[Setting] = getattr(backend.load(), "settings", ())
            declared |= {_PREFIX + setting.name: setting for setting in rows}
    return declared


_T = TypeVar("_T")
_Check = Callable[[Any], _T]
#: Reads a setting: its name without the prefix, its default, its check.
_Read = Callable[[str, Any, _Check[Any]], Any]


def _read(settings: BaseSettings, name: str, default: Any, check: _Check[_T]) -> _T:
    value = settings.get(_PREFIX + name, default)
    if value == "" and default is None:
        value = None  # as "-s NAME=" on a command line, which has no other way to say it
    return _checked(_PREFIX + name, value, check)


def _checked(title: str, value: Any, check: _Check[_T]) -> _T:
    try:
        return check(value)
    except Invalid as accepted:
        raise SettingError(f"{title} is {value!r}, but it must be {accepted}.") from None


def _pool(read: _Read, batch_size: int = 0) -> PoolSettings:
    workers = read("WORKERS", "auto", validators.workers)
    # Two batches for each worker, and as many that gather.
    pending = max(256, 64 * workers, 4 * batch_size * workers)
    intensity = max(12, 4 * workers)
    return PoolSettings(
        workers=workers,
        nice=read("NICE", 5, validators.nice),
        max_pending=read("MAX_PENDING", None, validators.auto(validators.positive, pending)),
        max_pending_bytes=read("MAX_PENDING_BYTES", 64 << 20, validators.positive),
        item_timeout=read("ITEM_TIMEOUT", 0, validators.seconds_or_off),
        redeliver_times=read("REDELIVER_TIMES", 2, validators.count),
        worker_max_items=read("WORKER_MAX_ITEMS", 0, validators.count),
        worker_memory_limit_mb=read("WORKER_MEMORY_LIMIT_MB", 0, validators.count),
        restart_intensity=read(
            "RESTART_INTENSITY", None, validators.auto(validators.count, intensity)
        ),
        restart_period=read("RESTART_PERIOD", 30, validators.seconds),
    )


def _levels(settings: BaseSettings) -> tuple[LevelSettings, ...]:
    pipelines = _read(settings, "PIPELINES", {}, validators.pipelines)
    written = _read(settings, "LEVELS", None, _as_dicts)
    pool = _pool(partial(_read, settings))
    if not written:
        return (LevelSettings("", pipelines, pool),) if pipelines else ()
    if pipelines:
        raise SettingError(
            "MPWORKERS_PIPELINES and MPWORKERS_LEVELS are both set; the first is the short form of "
            "one level, so move its pipelines into a level of MPWORKERS_LEVELS."
        )
    levels = tuple(_level(settings, level) for level in written)
    _refuse_doubles([level.name for level in levels], "two levels are called")
    listed = [entry for level in levels for entry, _ in level.pipelines if is_named(entry)]
    _refuse_doubles(list(map(import_path, listed)), "two levels list")
    return tuple(level for level in levels if level.pipelines)


def _as_dicts(value: Any) -> Sequence[Mapping[str, Any]]:
    accepted = 'a list of levels, each a dict with at least "name" and "pipelines"'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Invalid(accepted) from None
    is_list = isinstance(value, (list, tuple))
    if value is not None and not (is_list and all(isinstance(one, Mapping) for one in value)):
        raise Invalid(accepted)
    return value or ()


def _level(settings: BaseSettings, written: Mapping[str, Any]) -> LevelSettings:
    name = _checked("MPWORKERS_LEVELS: the name of a level", written.get("name"), _level_name)
    title = f"MPWORKERS_LEVELS: in the level {name!r}"
    for setting in written:
        if setting not in _KNOWN_IN_LEVELS:
            nearest = difflib.get_close_matches(str(setting), _KNOWN_IN_LEVELS, n=1, cutoff=0)[0]
            raise SettingError(f"{title}, {setting!r} is no setting. Did you mean {nearest!r}?")

    def read_own(setting: str, default: Any, check: _Check[_T]) -> _T:
        return _checked(f"{title}, {setting}", written.get(setting, default), check)

    def read(setting: str, default: Any, check: _Check[_T]) -> _T:
        general = _read(settings, setting, default, check)
        own = setting.lower()
        # MPWORKERS_WORKERS=0 is for debugging: all of the crawl in one process.
        if own not in written or (setting == "WORKERS" and general == 0):
            return general
        return read_own(own, default, check)

    batch_size = read_own("batch_size", 0, validators.count)
    return LevelSettings(
        name=name,
        pipelines=read_own("pipelines", {}, validators.pipelines),
        pool=_pool(read, batch_size),
        key=read_own("key", None, validators.key),
        batch_size=batch_size,
        batch_seconds=read_own("batch_seconds", 1.0, validators.seconds),
        wait=read_own("wait", True, validators.flag),
    )


def _level_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w-]*", value) or value in _TAKEN:
        taken = ", ".join(sorted(_TAKEN))
        raise Invalid(f"a word of letters, digits, - and _, and none of {taken}")
    return value


def _refuse_doubles(names: Sequence[str], what: str) -> None:
    doubles = sorted(name for name in set(names) if names.count(name) > 1)
    if doubles:
        raise SettingError(f"MPWORKERS_LEVELS: {what} {doubles[0]!r}.")


_OF_A_POOL = {field.name for field in fields(PoolSettings)}
_OF_A_LEVEL = {field.name for field in fields(LevelSettings)} - {"pool"}
_KNOWN_IN_LEVELS = _OF_A_LEVEL | _OF_A_POOL
_OF_A_CRAWL = {field.name for field in fields(WorkerSettings)} - {"pool"} | {"pipelines"}
_OWN_NAMES = {_PREFIX + name.upper() for name in _OF_A_CRAWL | _OF_A_POOL}

__all__ = [
    "Entry",
    "LevelSettings",
    "Pipelines",
    "PoolSettings",
    "Setting",
    "WorkerSettings",
    "known_names",
    "read_declared",
    "read_settings",
    "warn_of_unknown_names",
]
