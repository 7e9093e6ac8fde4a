"""Says which line to change if a crawl has ``MPWORKERS_`` settings that nothing in it reads.

Nothing of ours is active there, so it is a receiver of every crawl's ``spider_opened`` that asks.
"""

from __future__ import annotations

import ast
import logging
import sys
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scrapy.crawler import Crawler
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings

from scrapy_mpworkers.backends.preloading import imported_settings_module
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.hops import hops_of, is_component, is_contract_check
from scrapy_mpworkers.settings import names_with_prefix, read_settings
from scrapy_mpworkers.wire.entries import import_path

logger = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]
_ROUTE = "ITEM_PIPELINES", "WorkerPipeline", 300
_EXTENSION = "EXTENSIONS", "WorkerExtension", 0
_ADDON = "ADDONS", "Addon", 500


def speak(crawler: Crawler) -> None:
    """Warn in the log of *crawler*, which has begun, of settings without effect."""
    if (why := why_silent(crawler)) is not None:
        logger.warning("%s", why, extra={"spider": crawler.spider})


def why_silent(crawler: Crawler) -> str | None:
    """Return why settings of *crawler*, as its add-ons have left them, have no effect, and what to
    do; ``None`` if they have."""
    settings = crawler.settings
    names = [name for name in names_with_prefix(settings) if settings[name] is not None]
    if not names or is_contract_check():
        return None
    missing, listed = _missing(crawler)
    if missing is None:
        return None
    if listed:
        lost = f"{', '.join(listed)} will not run"
    else:
        lost = f"{', '.join(sorted(names))} ha{'s' if len(names) == 1 else 've'} no effect"
    return f"{lost}, as {_remedy(settings, missing)}"


def how_to_activate(crawler: Crawler) -> str:
    """Say what keeps the extension from being there, and what to do."""
    missing, _ = _missing(crawler)
    return _remedy(crawler.settings, missing or _ADDON)


def _remedy(settings: BaseSettings, missing: tuple[str, str, int]) -> str:
    setting, name, order = missing
    what, where = f"{_PACKAGE}.{name}", place_of(settings, setting)
    by_command = missing == _ADDON and str(settings_file()) in where
    hint = "; `scrapy mpworkers init` does that" if by_command else ""
    # Of the command line it says how to set it there.
    into = where if where.startswith("on ") else f"into {where}"
    return f'{what} is not active. Put "{what}": {order} {into}{hint}'


def _missing(crawler: Crawler) -> tuple[tuple[str, str, int] | None, list[str]]:
    """Return the component that is missing, and the pipelines that wait for it."""
    try:
        options = read_settings(crawler.settings)
        hops = hops_of(crawler.settings, options)
    except SettingError:  # the add-on and the extension would have said so
        return _ADDON, []
    missing = None
    listed = [import_path(entry) for entry, _ in options.pipelines]
    has_addon = _is_among(crawler.addons.addons, "addon.Addon")
    has_extension = _has_extension(crawler)
    if listed and not hops:
        missing = _ROUTE
    if options.enabled and not has_extension:
        missing = _EXTENSION
    if missing and not (has_addon or has_extension or hops):
        missing = _ADDON
    return None if has_addon and not options.enabled else missing, listed


def _has_extension(crawler: Crawler) -> bool:
    try:
        active: Any = crawler.extensions
    except RuntimeError:  # Scrapy 2.19 does not say None
        active = None
    if active is not None:
        return _is_among(active.middlewares, "extension.WorkerExtension")
    entries = crawler.settings.getdict("EXTENSIONS").items()
    name = "extension.WorkerExtension"
    return any(order is not None and is_component(entry, name) for entry, order in entries)


def _is_among(objects: Iterable[Any], name: str) -> bool:
    """Return whether one of *objects* is of our class of that name, or of one that derives from
    it. (Our class itself would bring half of the package along.)"""
    path = f"{_PACKAGE}.{name}"
    return any(path in map(import_path, type(one).__mro__) for one in objects)


def place_of(settings: BaseSettings, name: str) -> str:
    """Say where the value of a setting comes from, with the line if it has one."""
    priority = settings.getpriority(name) or 0
    if priority >= SETTINGS_PRIORITIES["cmdline"]:
        return f"on the command line (-s {name}=...)"
    if priority >= SETTINGS_PRIORITIES["spider"]:
        return f"{name} of the spider's custom_settings"
    file = settings_file()
    if file is None:
        return f"{name} of the settings that the script gives to the crawl"
    with tokenize.open(file) as opened:  # in the encoding that Python has imported it with
        source = opened.read()
    *others, last = [node.lineno for node in assignments(source, name)] or [0]
    if not last:
        return f"{name}, by a new line in {file}"
    before = f" (not in line {others[-1]}: the last one counts)" if others else ""
    return f"{name} in line {last} of {file}{before}"


def settings_file() -> Path | None:
    """Return the file of the project's settings module, if this process has imported it."""
    file = getattr(sys.modules.get(imported_settings_module() or ""), "__file__", None)
    return Path(file) if file is not None and file.endswith(".py") else None


def assignments(source: str, name: str) -> list[ast.Assign | ast.AnnAssign]:
    """Return the statements that set *name* in a module, in their order."""
    module = ast.parse(source)
    inside = {
        id(node)
        for scope in ast.walk(module)
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for node in ast.walk(scope)
    }
    found = [
        node
        for node in ast.walk(module)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and id(node) not in inside
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == name
    ]
    return sorted(found, key=lambda node: node.lineno)
