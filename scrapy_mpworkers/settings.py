"""Every MPWORKERS_ setting: its name, its default, and its check, which is in ``validators``.

The dataclasses are the table: a field with ``_setting`` is a setting of that name.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scrapy.settings import BaseSettings

from scrapy_mpworkers import validators
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.pool.cpus import usable_cpus
from scrapy_mpworkers.validators import Invalid
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.entries import Pipelines, import_path, is_named

logger = logging.getLogger(__name__)

_PREFIX = "MPWORKERS_"


class Setting(NamedTuple):
    """A setting: its name without ``MPWORKERS_``, its default, and the check that a value passes.

    The check returns the value to use, or raises a ``validators.Invalid`` with what is accepted.
    """

    name: str
    default: Any
    check: Callable[[Any], Any]


def _setting(default: Any, check: Callable[[Any], Any]) -> Any:
    """Return the field of a setting that bears its name."""
    return field(metadata={"setting": (default, check)})


def _table(cls: type) -> dict[str, Setting]:
    """Return the settings among the fields of *cls*, by the names of these fields."""
    found = [(one.name, one.metadata["setting"]) for one in fields(cls) if one.metadata]
    return {name: Setting(name.upper(), *setting) for name, setting in found}


@dataclass(frozen=True)
class PoolSettings:
    """The settings of a level's pool. Times are in seconds.

    Attributes:
        workers_is_auto: the user has asked for no number of workers, so a backend may choose one.
        max_pending: ``None``: it follows the time that items take.
    """

    workers_is_auto: bool
    workers: int = _setting("auto", validators.workers)
    nice: int = _setting(5, validators.nice)
    max_pending: int | None = _setting(None, validators.or_none(validators.positive))
    max_pending_bytes: int = _setting(64 << 20, validators.positive)
    item_timeout: float = _setting(0, validators.seconds_or_off)
    redeliver_times: int = _setting(2, validators.count)
    worker_max_items: int = _setting(0, validators.count)
    worker_memory_limit_mb: int = _setting(0, validators.count)
    restart_intensity: int = _setting(None, validators.or_none(validators.count))
    restart_period: float = _setting(30, validators.seconds)


@dataclass(frozen=True)
class LevelSettings:
    """The settings of a level, whose pipelines share a pool.

    Attributes:
        name: empty for the one level that ``MPWORKERS_PIPELINES`` stands for.
        pipelines: (entry, order) in order, without those that are disabled by ``None``.
        key: a field's name, or a function or its import path: equal keys meet the same worker.
        batch_size: items that go through the pipelines together, at most; 0: each alone.
        batch_seconds: seconds that an item waits for its batch to fill, at most.
        wait: whether an item goes on only when this level has done with it.
    """

    name: str
    pool: PoolSettings
    pipelines: Pipelines = _setting({}, validators.pipelines)
    key: Any = _setting(None, validators.key)
    batch_size: int = _setting(0, validators.count)
    batch_seconds: float = _setting(1.0, validators.seconds)
    wait: bool = _setting(True, validators.flag)

    @property
    def placement(self) -> Placement:
        workers, batches = self.pool.workers, self.batch_size > 0
        return Placement(workers, self.key is not None, batches, self.wait)


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of one crawl, checked. Times are in seconds.

    ``pool``: the settings of a level's pool, as far as the level does not set its own.
    """

    pool: PoolSettings
    levels: tuple[LevelSettings, ...]
    enabled: bool = _setting(True, validators.flag)
    backend: str = _setting("local", validators.backend)
    start_method: str = _setting(None, validators.start_method)
    close_timeout: float = _setting(60, validators.seconds)
    dead_letters: Path | None = _setting(None, validators.path)
    journal: bool = _setting(False, validators.flag)
    initializer: str | None = _setting(None, validators.initializer)
    callbacks: tuple[str, ...] | bool = _setting(None, validators.callbacks)
    callbacks_level: str | None = _setting(None, validators.or_none(validators.level_name))
    report: Path | None = _setting(None, validators.report)
    page: tuple[int, int] | None = _setting(False, validators.page)
    page_host: str = _setting("127.0.0.1", validators.host)

    @property
    def pipelines(self) -> Pipelines:
        """The pipelines of all levels, in order."""
        listed = [pair for level in self.levels for pair in level.pipelines]
        return tuple(sorted(listed, key=lambda pair: pair[1]))


def read_settings(settings: BaseSettings) -> WorkerSettings:
    """Read and check all settings, those included that backends declare which are not in use.

    Raises:
        SettingError: in one sentence: the setting, its value, what is accepted.
    """
    read = partial(_read, settings)
    if names := _names_of_others(settings):
        rows = [row for _, row in validators.declared_by_backends()]
        read_declared(settings, [row for row in rows if _PREFIX + row.name in names])
    pool = _pool(read)
    options = WorkerSettings(
        pool=pool,
        levels=_levels(settings, pool),
        **{name: read(setting) for name, setting in _table(WorkerSettings).items()},
    )
    if options.journal and not settings.get("JOBDIR"):
        raise SettingError(
            "MPWORKERS_JOURNAL is True, but JOBDIR is not set: set JOBDIR to the "
            "folder that shall keep the journal."
        )
    return options


def read_declared(settings: BaseSettings, declared: Iterable[Setting]) -> dict[str, Any]:
    """Read and check the settings that a backend declares.

    Returns:
        their values, by the names without ``MPWORKERS_``.

    Raises:
        SettingError: as in :func:`read_settings`.
    """
    return {setting.name: _read(settings, setting) for setting in declared}


def warn_of_names(settings: BaseSettings) -> None:
    """Log a warning for each MPWORKERS_ setting without effect because of its name."""
    for line in names_without_effect(settings):
        logger.warning("%s", line)


def names_without_effect(settings: BaseSettings) -> Iterator[str]:
    """Say which names are no settings, with the nearest that is, or are another backend's."""
    if not (names := _names_of_others(settings)):
        return
    backend = settings.get(f"{_PREFIX}BACKEND") or "local"
    owners = known_names()
    for name in names:
        if name not in owners:
            nearest = difflib.get_close_matches(name, owners, n=1, cutoff=0)[0]
            yield f"There is no setting {name}. Did you mean {nearest}?"
        elif backend not in owners[name] and settings[name] not in (None, ""):
            yield (
                f"{name} has no effect, as {_PREFIX}BACKEND is {backend!r}. Set it to "
                f"{owners[name][0]!r}, or take {name} out"
            )


def names_of_ours(settings: BaseSettings) -> list[str]:
    """Return the names of all settings that begin with MPWORKERS_."""
    return [name for name in settings if isinstance(name, str) and name.startswith(_PREFIX)]


def known_names() -> dict[str, list[str]]:
    """Return the names of all settings, each with the backends to which alone it says something."""
    owners: dict[str, list[str]] = {name: [] for name in _OWN_NAMES}
    for owner, row in validators.declared_by_backends():
        owners.setdefault(_PREFIX + row.name, []).append(owner)
    return owners


def _names_of_others(settings: BaseSettings) -> list[str]:
    return [name for name in names_of_ours(settings) if name not in _OWN_NAMES]


def _read(settings: BaseSettings, setting: Setting) -> Any:
    title = _PREFIX + setting.name
    value = settings.get(title, setting.default)
    if value == "" and setting.default is None:
        value = None  # as "-s NAME=" on a command line, which has no other way to say it
    return _checked(title, value, setting.check)


def _checked(title: str, value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except Invalid as accepted:
        raise _refusal(title, value, accepted) from None


def _refusal(title: str, value: Any, accepted: object) -> SettingError:
    return SettingError(f"{title} is {value!r}, but it must be {accepted}.")


def _pool(read: Callable[[Setting], Any]) -> PoolSettings:
    given = {name: read(setting) for name, setting in _table(PoolSettings).items()}
    workers = usable_cpus() if given["workers"] is None else given["workers"]
    automatic = {
        "workers": workers,
        "restart_intensity": max(12, 4 * workers),
    }
    return PoolSettings(
        workers_is_auto=given["workers"] is None,
        **given | {name: value for name, value in automatic.items() if given[name] is None},
    )


def _levels(settings: BaseSettings, pool: PoolSettings) -> tuple[LevelSettings, ...]:
    pipelines = _read(settings, _OF_A_LEVEL["pipelines"])
    written = _read(settings, _LEVELS)
    if not written:
        return (level_of("", pipelines, pool),) if pipelines else ()
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


def level_of(name: str, pipelines: Pipelines, pool: PoolSettings) -> LevelSettings:
    """Return a level in which all settings that only MPWORKERS_LEVELS has are at their defaults."""
    own = {one: setting.default for one, setting in _OF_A_LEVEL.items()}
    return LevelSettings(name=name, pool=pool, **own | {"pipelines": pipelines})


def _level(settings: BaseSettings, written: Mapping[str, Any]) -> LevelSettings:
    name = _checked(
        "MPWORKERS_LEVELS: the name of a level", written.get("name"), validators.level_name
    )
    title = f"MPWORKERS_LEVELS: in the level {name!r}"
    for setting in written:
        if setting not in _KNOWN_IN_LEVELS:
            nearest = difflib.get_close_matches(str(setting), _KNOWN_IN_LEVELS, n=1, cutoff=0)[0]
            raise SettingError(f"{title}, {setting!r} is no setting. Did you mean {nearest!r}?")

    def read_own(setting: Setting) -> Any:
        own = setting.name.lower()
        return _checked(f"{title}, {own}", written.get(own, setting.default), setting.check)

    def read(setting: Setting) -> Any:
        general = _read(settings, setting)
        # MPWORKERS_WORKERS=0 is for debugging: all of the crawl in one process.
        if setting.name.lower() not in written or (setting.name == "WORKERS" and general == 0):
            return general
        return read_own(setting)

    own = {one: read_own(setting) for one, setting in _OF_A_LEVEL.items()}
    return LevelSettings(name=name, pool=_pool(read), **own)


def _refuse_doubles(names: Sequence[str], what: str) -> None:
    doubles = sorted(name for name in set(names) if names.count(name) > 1)
    if doubles:
        raise SettingError(f"MPWORKERS_LEVELS: {what} {doubles[0]!r}.")


_LEVELS = Setting("LEVELS", None, validators.levels)
_OF_A_LEVEL = _table(LevelSettings)
_KNOWN_IN_LEVELS = {"name", *_OF_A_LEVEL, *_table(PoolSettings)}
_OF_A_CRAWL = {"levels", "pipelines", *_table(WorkerSettings), *_table(PoolSettings)}
_OWN_NAMES = {_PREFIX + name.upper() for name in _OF_A_CRAWL}
