"""Finds out what workers run and import before they have anything to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scrapy_mpworkers.wire.entries import MAINS, PipelineEntry, import_path
from scrapy_mpworkers.wire.messages import Prelude
from scrapy_mpworkers.wire.search_path import search_path

if TYPE_CHECKING:
    from scrapy_mpworkers.settings import WorkerSettings

#: Modules of ours that every worker needs.
OWN = ("scrapy_mpworkers.worker.main", "scrapy_mpworkers.worker.consumer")


def imported_settings_module() -> str | None:
    """The settings module of the project, if this process has imported it.

    The variable alone proves nothing: it is set in a project's folder also for a script that has
    its settings in a dict.
    """
    name = os.environ.get("SCRAPY_SETTINGS_MODULE")
    return name if name in sys.modules and name not in MAINS else None


def modules_to_import_again(
    options: WorkerSettings, has_workers: bool, spidercls: type
) -> dict[str, str]:
    """Return what a worker imports beside its pipelines, by module; forked ones have it already."""
    if not options.enabled or not has_workers or options.start_method == "fork":
        return {}
    settings, spider = imported_settings_module(), spidercls.__module__
    is_imported = spider not in MAINS and spider.partition(".")[0] != "scrapy"
    return ({spider: "The spider's module"} if is_imported else {}) | (
        {settings: "The settings module"} if settings is not None else {}
    )


def modules_to_preload(
    entries: Iterable[PipelineEntry], spidercls: type, prelude: Prelude
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the fork server imports once for all workers: modules of the pipelines, and that
    of the spider.

    There are none if there is an initializer, which must run before these imports, and only in
    workers, since it may start threads or connect to something.
    """
    if prelude.initializer is not None:
        return (), ()
    modules = [
        # A method of a builtin type is of no module.
        e.rpartition(".")[0] if isinstance(e, str) else getattr(e, "__module__", None) or ""
        for e in entries
    ]
    of_spider = spidercls.__module__
    preload = tuple(name for name in dict.fromkeys(modules) if name and name not in MAINS)
    return preload, () if of_spider in MAINS else (of_spider,)


def modules_and_classes(entries: Iterable[PipelineEntry]) -> tuple[list[type], list[str]]:
    """Return the pipelines' classes, if imported in this process, and the names of all modules."""
    classes: list[type] = []
    modules: list[str] = []
    for entry in entries:
        module, _, name = import_path(entry).rpartition(".")
        found = getattr(sys.modules.get(module), name, None)
        classes += [found] if isinstance(found, type) else []
        modules.append(module)
    return classes, modules


def folders_to_import_from(spidercls: type) -> tuple[str, ...]:
    """Return the folder of a ``scrapy runspider`` file, which is not on ``sys.path``."""
    module = sys.modules.get(spidercls.__module__)
    file = getattr(module, "__file__", None)
    if file is None or "." in spidercls.__module__ or spidercls.__module__ in MAINS:
        return ()
    folder = os.path.dirname(os.path.abspath(file))
    return () if folder in map(os.path.abspath, search_path()) else (folder,)
