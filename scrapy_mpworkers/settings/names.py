"""Which MPWORKERS_ settings there are, and which names have no effect."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from dataclasses import fields

from scrapy.settings import BaseSettings

from scrapy_mpworkers import validators
from scrapy_mpworkers.settings.setting import PREFIX, Setting, settings_of
from scrapy_mpworkers.settings.table import (
    LEVEL_NAME,
    LEVELS,
    LevelSettings,
    PoolSettings,
    WorkerSettings,
)

logger = logging.getLogger(__name__)

OF_A_POOL = settings_of(PoolSettings)
OF_A_LEVEL = settings_of(LevelSettings)
#: All settings of a level, by the keys that ``MPWORKERS_LEVELS`` uses for them.
KEYS_OF_A_LEVEL = {LEVEL_NAME.key: LEVEL_NAME, **OF_A_LEVEL, **OF_A_POOL}


def _own() -> Iterator[Setting]:
    of_a_crawl = settings_of(WorkerSettings)
    for field in fields(WorkerSettings):
        if field.name == "levels":
            yield from (OF_A_LEVEL["pipelines"], LEVELS)
        elif field.name == "pool":
            yield from OF_A_POOL.values()
        else:
            yield of_a_crawl[field.name]


#: All settings of a crawl but those that backends declare, in the order of the docs.
OWN = tuple(_own())
_OWN_NAMES = {setting.title for setting in OWN}


def all_settings() -> tuple[Setting, ...]:
    """Import all backends and return every setting: ours in the order of the docs, then theirs."""
    theirs = {row.title: row for _, row in validators.declared_by_backends()}
    return OWN + tuple(row for title, row in theirs.items() if title not in _OWN_NAMES)


def warn_of_names(settings: BaseSettings) -> None:
    """Log a warning for each MPWORKERS_ setting without effect because of its name."""
    for line in names_without_effect(settings):
        logger.warning("%s", line)


def names_without_effect(settings: BaseSettings) -> Iterator[str]:
    """Yield a warning for each MPWORKERS_ name that is unknown or belongs to another backend."""
    if not (names := names_not_own(settings)):
        return
    backend = settings.get(f"{PREFIX}BACKEND") or "local"
    owners = known_names()
    for name in names:
        if name not in owners:
            nearest = difflib.get_close_matches(name, owners, n=1, cutoff=0)[0]
            yield f"There is no setting {name}. Did you mean {nearest}?"
        elif backend not in owners[name] and settings[name] not in (None, ""):
            yield (
                f"{name} has no effect, as {PREFIX}BACKEND is {backend!r}. Set it to "
                f"{owners[name][0]!r}, or take {name} out"
            )


def names_with_prefix(settings: BaseSettings) -> list[str]:
    return [name for name in settings if isinstance(name, str) and name.startswith(PREFIX)]


def known_names() -> dict[str, list[str]]:
    """Map the name of each setting to the backends that declare it; none: all backends know it."""
    owners: dict[str, list[str]] = {setting.title: [] for setting in OWN}
    for owner, row in validators.declared_by_backends():
        owners.setdefault(row.title, []).append(owner)
    return owners


def names_not_own(settings: BaseSettings) -> list[str]:
    """Return the MPWORKERS_ names that are not in our table: settings of backends, or slips."""
    return [name for name in names_with_prefix(settings) if name not in _OWN_NAMES]
