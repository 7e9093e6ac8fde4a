"""Finds which MPWORKERS_ settings a crawl would get, and writes what ``settings`` prints."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import Any

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings

from scrapy_mpworkers.crawl.silence import why_silent
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.settings import (
    Setting,
    WorkerSettings,
    names_without_effect,
    read_declared,
    read_settings,
    text_of,
)
from scrapy_mpworkers.settings.names import all_settings
from scrapy_mpworkers.wire.texts import named

#: Lines longer than that are hard to read, however wide the terminal is.
_WIDEST = 100
_INDENT = " " * 4
_ORIGINS = {
    "default": "default",
    "command": "command",
    "addon": "add-on",
    "project": "settings module",
    "spider": "spider",
    "cmdline": "command line",
}


@dataclass(frozen=True)
class Row:
    """Describes a setting of a crawl."""

    setting: Setting
    value: Any  #: as it is written
    origin: str
    is_changed: bool
    refusal: str = ""  #: the sentence with which a crawl would stop
    here: Any = None  #: what an automatic value comes to
    in_levels: tuple[tuple[str, Any], ...] = ()  #: (level, value), where a level has its own


@dataclass(frozen=True)
class InEffect:
    """Holds all settings of a crawl."""

    rows: tuple[Row, ...]
    #: Why a crawl would stop, if no single setting is the reason.
    general: str = ""
    without_effect: tuple[str, ...] = ()

    @property
    def refusals(self) -> list[str]:
        """The sentences with which a crawl would stop."""
        listed = [row.refusal for row in self.rows] + [self.general]
        return [sentence for sentence in listed if sentence]


def in_effect(settings: BaseSettings, spidercls: type[Spider]) -> InEffect:
    """Find what a crawl of *spidercls* with these settings would get, without a reactor."""
    crawler = Crawler(spidercls, settings)  # type: ignore[arg-type]
    general, options = "", None
    try:
        crawler.addons.load_settings(crawler.settings)
        options = read_settings(crawler.settings)
    except SettingError as error:
        general = str(error)
    # Of other add-ons too: whatever it is, the crawl stops there.
    except Exception as error:
        general = named(error)
    rows = tuple(_row(crawler.settings, setting, options) for setting in all_settings())
    if general in [row.refusal for row in rows]:
        general = ""
    silent = why_silent(crawler) if options is not None else None
    lines = [f"{silent}."] if silent else []
    return InEffect(rows, general, (*lines, *names_without_effect(crawler.settings)))


def _row(settings: BaseSettings, setting: Setting, options: WorkerSettings | None) -> Row:
    value = settings.get(setting.title, setting.default)
    origin = _origin(settings.getpriority(setting.title))
    try:
        [used] = read_declared(settings, [setting]).values()
        [unset] = read_declared(BaseSettings(), [setting]).values()
    except SettingError as error:
        return Row(setting, value, origin, True, str(error))
    found = partial(Row, setting, value, origin, used != unset)
    if options is None:
        return found()
    here = getattr(options.pool, setting.key, used)
    levels = [(level.name, getattr(level.pool, setting.key, here)) for level in options.levels]
    return found(
        here=here if value in (None, "", "auto") and here else None,
        in_levels=tuple((name, own) for name, own in levels if name and own != here),
    )


def _origin(priority: int | None) -> str:
    """Return in a word or two who has set a value of that priority of Scrapy's."""
    if priority is None:
        return _ORIGINS["default"]
    names = {number: name for name, number in SETTINGS_PRIORITIES.items()}
    return _ORIGINS.get(names.get(priority, ""), f"priority {priority}")


def text(found: InEffect, whose: str, only_changed: bool) -> str:
    """Return the whole text. *whose* settings they are, in a few words."""
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    changed = [row for row in found.rows if row.is_changed]
    lines = [f"These are {whose}.", ""]
    for row in changed if only_changed else found.rows:
        lines += [*_entry(row, width), ""]
    if found.without_effect:
        lines += [*_all_wrapped(found.without_effect, width), ""]
    if found.general:
        lines += [*_all_wrapped([f"A crawl would stop: {found.general}"], width), ""]
    count = f"Changed from the default: {len(changed)} of {len(found.rows)}"
    stops = f", would stop a crawl: {len(found.refusals)}" if found.refusals else ""
    return "\n".join([*lines, f"{count}{stops}."])


def _entry(row: Row, width: int) -> Iterator[str]:
    """Yield a setting with its value, and below it where that comes from and what it does."""
    written = text_of(row.value, width - len(_INDENT))
    here = f", here {text_of(row.here)}" if row.here is not None else ""
    origin = row.origin
    if row.is_changed:
        origin += f"; default: {text_of(row.setting.default)}"
    head = f"{row.setting.title} = {written}{here}"
    if "\n" in written or len(f"{head} ({origin})") > width:
        yield f"{row.setting.title} ="
        yield from (f"{_INDENT}{line}" for line in f"{written}{here}".splitlines())
        yield f"{_INDENT}({origin})"
    else:
        yield f"{head} ({origin})"
    if row.refusal:
        yield from _wrapped(f"A crawl would stop: {row.refusal}", width)
    if row.in_levels:
        own = ", ".join(f"{text_of(value)} in {name}" for name, value in row.in_levels)
        yield from _wrapped(f"Levels with a value of their own: {own}.", width)
    yield from _wrapped(_plain(row.setting.meaning), width)


def _all_wrapped(sentences: list[str] | tuple[str, ...], width: int) -> list[str]:
    return [line for one in sentences for line in wrap(one, width, break_long_words=False)]


def _wrapped(sentence: str, width: int) -> list[str]:
    return wrap(
        sentence,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(markdown: str) -> str:
    """Return a meaning without links and the marks of code."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
