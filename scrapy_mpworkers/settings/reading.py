"""Reads and checks what a crawl has of the MPWORKERS_ settings."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from scrapy.settings import BaseSettings

from scrapy_mpworkers import validators
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.pool.cpus import usable_cpus
from scrapy_mpworkers.settings.names import KEYS_OF_A_LEVEL, OF_A_LEVEL, OF_A_POOL, names_not_own
from scrapy_mpworkers.settings.setting import Setting, settings_of, text_of
from scrapy_mpworkers.settings.table import (
    LEVEL_NAME,
    LEVELS,
    LevelSettings,
    PoolSettings,
    WorkerSettings,
)
from scrapy_mpworkers.validators import Invalid
from scrapy_mpworkers.wire.entries import Pipelines, import_path, is_named
from scrapy_mpworkers.wire.texts import named


def read_settings(settings: BaseSettings) -> WorkerSettings:
    """Read and check all settings, those included that backends declare which are not in use.

    Raises:
        SettingError: in one sentence: the setting, its value, what is accepted.
    """
    read = partial(_read, settings)
    if names := names_not_own(settings):
        rows = [row for _, row in validators.declared_by_backends()]
        read_declared(settings, [row for row in rows if row.title in names])
    pool = _pool(read)
    own = {name: read(setting) for name, setting in settings_of(WorkerSettings).items()}
    levels = _levels(settings, pool, own["callbacks_level"])
    options = WorkerSettings(pool=pool, levels=levels, **own)
    if options.journal:
        _refuse_unless_folder(settings.get("JOBDIR"))
    if sys.platform == "win32" and (options.journal or options.dead_letters):
        name = "MPWORKERS_JOURNAL" if options.journal else "MPWORKERS_DEAD_LETTERS"
        raise SettingError(
            f"{name} needs Linux or macOS, as its file is locked against other processes in a way "
            "that Windows does not have: leave it out on this machine."
        )
    return options


def _refuse_unless_folder(job: Any) -> None:
    if not job:
        raise SettingError(
            "MPWORKERS_JOURNAL is True, but JOBDIR is not set: set JOBDIR to the "
            "folder that shall keep the journal."
        )
    if not validators.is_path(job):
        raise SettingError(
            f"MPWORKERS_JOURNAL is True, but JOBDIR is {text_of(job)}: set JOBDIR to "
            "the path of a folder that shall keep the journal."
        )


def read_declared(settings: BaseSettings, declared: Iterable[Setting]) -> dict[str, Any]:
    """Read and check the settings that a backend declares.

    Returns:
        their values, by the names without ``MPWORKERS_``.

    Raises:
        SettingError: as in :func:`read_settings`.
    """
    return {setting.name: _read(settings, setting) for setting in declared}


def _read(settings: BaseSettings, setting: Setting) -> Any:
    value = settings.get(setting.title, setting.default)
    if isinstance(value, str) and not value and setting.default is None:
        value = None  # as "-s NAME=" on a command line, which has no other way to say it
    return _checked(setting.title, value, setting.check)


def _checked(title: str, value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except Invalid as accepted:
        raise SettingError(f"{title} is {text_of(value)}, but it must be {accepted}.") from None
    except Exception as error:  # the value's own method has failed, or the check of another backend
        raise SettingError(
            f"{title} is {text_of(value)}, which cannot be read "
            f"({named(error)}); replace it by a value of the kind that the docs name."
        ) from error


def _pool(read: Callable[[Setting], Any]) -> PoolSettings:
    given = {name: read(setting) for name, setting in OF_A_POOL.items()}
    is_auto = given["workers"] is None
    if is_auto:
        given["workers"] = usable_cpus()
    if given["restart_intensity"] is None:
        given["restart_intensity"] = max(12, 4 * given["workers"])
    return PoolSettings(workers_is_auto=is_auto, **given)


def _levels(
    settings: BaseSettings, pool: PoolSettings, callbacks_level: str | None
) -> tuple[LevelSettings, ...]:
    """Return the levels that have something to do: pipelines, or callbacks."""
    pipelines = _read(settings, OF_A_LEVEL["pipelines"])
    written = _read(settings, LEVELS)
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
    return tuple(level for level in levels if level.pipelines or level.name == callbacks_level)


def level_of(name: str, pipelines: Pipelines, pool: PoolSettings) -> LevelSettings:
    """Return a level in which all settings that only MPWORKERS_LEVELS has are at their defaults."""
    own = {one: setting.default for one, setting in OF_A_LEVEL.items()}
    return LevelSettings(name=name, pool=pool, **own | {"pipelines": pipelines})


def _level(settings: BaseSettings, written: Mapping[str, Any]) -> LevelSettings:
    name = _checked(
        "MPWORKERS_LEVELS: the name of a level", written.get(LEVEL_NAME.key), LEVEL_NAME.check
    )
    title = f"MPWORKERS_LEVELS: in the level {name!r}"
    for setting in written:
        if setting not in KEYS_OF_A_LEVEL:
            nearest = difflib.get_close_matches(str(setting), KEYS_OF_A_LEVEL, n=1, cutoff=0)[0]
            raise SettingError(f"{title}, {setting!r} is no setting. Did you mean {nearest!r}?")

    def read_own(setting: Setting) -> Any:
        value = written.get(setting.key, setting.default)
        return _checked(f"{title}, {setting.key}", value, setting.check)

    def read(setting: Setting) -> Any:
        general = _read(settings, setting)
        # MPWORKERS_WORKERS=0 is for debugging: all of the crawl in one process.
        if setting.key not in written or (setting.name == "WORKERS" and general == 0):
            return general
        return read_own(setting)

    own = {one: read_own(setting) for one, setting in OF_A_LEVEL.items()}
    return LevelSettings(name=name, pool=_pool(read), **own)


def _refuse_doubles(names: Sequence[str], what: str) -> None:
    doubles = sorted(name for name in set(names) if names.count(name) > 1)
    if doubles:
        raise SettingError(f"MPWORKERS_LEVELS: {what} {doubles[0]!r}.")
