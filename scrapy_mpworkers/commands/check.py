"""Finds what would run where, and what would fail there or stop the crawl at its start.

No pipeline is built for it, and nothing is started, connected or written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from scrapy_mpworkers import lint
from scrapy_mpworkers.backends.base import Plans, find_backend, plans_of
from scrapy_mpworkers.backends.preloading import modules_to_import_again
from scrapy_mpworkers.callbacks import has_marks
from scrapy_mpworkers.commands.callbacks import Callbacks, callbacks_of, names_of_no_callback
from scrapy_mpworkers.crawl.silence import why_silent
from scrapy_mpworkers.errors import MPWorkersError, SettingError
from scrapy_mpworkers.hops import Hop, hops_of, on_the_reactor, settle_routes
from scrapy_mpworkers.settings import (
    LevelSettings,
    WorkerSettings,
    names_without_effect,
    read_settings,
)
from scrapy_mpworkers.stores.journal import FILE_NAME, Journal
from scrapy_mpworkers.stores.private_files import read_private
from scrapy_mpworkers.wire.entries import PipelineEntry, as_pipeline, import_path, key_function
from scrapy_mpworkers.wire.texts import named
from scrapy_mpworkers.worker.pipelines import refuse_unfit


@dataclass(frozen=True)
class Step:
    """Describes a pipeline on the number line."""

    order: Any
    path: str
    hop: Hop | None = None  #: ``None``: it runs in Scrapy's process
    report: lint.Report | None = None  #: ``None`` there, too, and if it cannot be imported
    failures: tuple[lint.Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    advice: str = ""  #: where the pipeline is right, in a few words


@dataclass(frozen=True)
class Check:
    """Holds all that was found."""

    options: WorkerSettings | None = None
    steps: tuple[Step, ...] = ()
    callbacks: Callbacks | None = None
    failures: tuple[str, ...] = ()  #: of the settings; those of a class are with its step
    of_settings: tuple[str, ...] = ()  #: warnings of lines of the settings module

    @property
    def would_fail(self) -> int:
        of_callbacks = self.callbacks.would_fail if self.callbacks else 0
        return len(self.failures) + sum(len(step.failures) for step in self.steps) + of_callbacks

    @property
    def warnings(self) -> int:
        of_callbacks = self.callbacks.warnings if self.callbacks else 0
        return len(self.of_settings) + sum(len(step.warnings) for step in self.steps) + of_callbacks


def check_settings(
    settings: BaseSettings, spidercls: type[Spider], spiders: Sequence[type[Spider]] = ()
) -> Check:
    """Check a crawl of *spidercls* with these settings, without a reactor.

    Args:
        spiders: all of the project, if none of them is meant, and *spidercls* is Scrapy's own.
    """
    try:
        crawler = Crawler(spidercls, settings)  # type: ignore[arg-type]
        crawler.addons.load_settings(crawler.settings)
        options = read_settings(crawler.settings)
        if options.enabled:
            settle_routes(crawler, options)
        hops = hops_of(crawler.settings, options)
    except SettingError as error:
        return Check(failures=(str(error),))
    # Of other add-ons too: whatever it is, the crawl stops there.
    except Exception as error:
        return Check(failures=(named(error),))
    are_wanted = bool(options.callbacks) or any(map(has_marks, (spidercls, *spiders)))
    failures = tuple(_failures(crawler, options, hops, are_wanted))
    steps = [step for hop in hops for step in _steps_of(hop, options)]
    for entry, order in on_the_reactor(crawler.settings):
        _, why = _load(entry)  # the import may stop the crawl, too
        steps.append(Step(order, import_path(entry), failures=why))
    plans = _plans(options, hops, options.enabled and are_wanted)
    has_workers = any(plan.starts_with_crawl for plan in plans.levels) if plans else False
    of_settings = (
        *names_without_effect(crawler.settings),
        *names_of_no_callback(spiders if spidercls is Spider else [spidercls], options.callbacks),
        *lint.module_lines(modules_to_import_again(options, has_workers, spidercls)),
    )
    steps.sort(key=lambda step: step.order)
    callbacks = callbacks_of(plans, options, spidercls) if plans else None
    return Check(options, tuple(steps), callbacks, failures, of_settings)


def _plans(options: WorkerSettings, hops: Sequence[Hop], has_callbacks: bool) -> Plans | None:
    try:
        return plans_of(options, hops, has_callbacks)
    except SettingError:  # which is among the failures
        return None


def _failures(
    crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop], are_wanted: bool
) -> Iterator[str]:
    if (why := why_silent(crawler)) is not None:
        yield f"{why}."
    elif not (options.pipelines or are_wanted):
        yield (
            "MPWORKERS_PIPELINES and MPWORKERS_LEVELS list no pipeline, and no callback is named "
            "or marked, so there are no workers."
        )
    for level in options.levels:
        yield from _failures_of_level(level)
    if options.enabled:
        yield from _obstacles(crawler, options, hops, are_wanted)


def _failures_of_level(level: LevelSettings) -> Iterator[str]:
    if level.key is not None:
        try:
            key_function(level.key)
        except Exception as error:
            yield str(error)
    loaded = [_load(entry)[0] for entry, _ in level.pipelines]
    if level.batch_size and not any(hasattr(cls, "process_batch") for cls in loaded):
        yield (
            f"MPWORKERS_LEVELS: the level {level.name!r} has batch_size, but none of its pipelines "
            "has process_batch."
        )


def _steps_of(hop: Hop, options: WorkerSettings) -> Iterator[Step]:
    level = options.levels[hop.level]
    orders = {import_path(entry): order for entry, order in level.pipelines}
    # Of the whole level: what else it does decides what is advised.
    loaded = {import_path(entry): _load(entry) for entry, _ in level.pipelines}
    reports = {path: lint.inspect(cls) for path, (cls, _) in loaded.items() if cls is not None}
    lines = lint.warnings(list(reports.values()), level.placement)
    for path in hop.paths:
        report = reports.get(path)
        if report is None:
            yield Step(orders[path], path, hop, failures=loaded[path][1])
            continue
        failures = report.failures
        try:
            refuse_unfit(report.cls)
        except SettingError as error:
            failures = (lint.Failure(report.cls.__qualname__, str(error)),)
        own = tuple(line for line in lines if line.startswith(f"{lint.name_of(report.cls)} "))
        advice = "ITEM_PIPELINES" if failures else lint.suggestion(report, level.placement)
        yield Step(orders[path], path, hop, report, failures, own, advice)


def _load(entry: PipelineEntry) -> tuple[type | None, tuple[lint.Failure, ...]]:
    try:
        return as_pipeline(load_object(entry)), ()
    # Whatever the user's module raises when it is imported.
    except (Exception, SystemExit) as error:
        return None, (lint.Failure(import_path(entry), named(error)),)


def _obstacles(
    crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop], are_wanted: bool
) -> Iterator[str]:
    """Yield the reasons why the crawl would not start, as far as they lie in its settings."""
    yield from _of_backend(crawler, options, hops, are_wanted)
    if not (hops or are_wanted):
        return
    if options.initializer is not None:
        try:
            load_object(options.initializer)
        # Whatever the user's module raises when it is imported.
        except (Exception, SystemExit) as error:
            yield f"MPWORKERS_INITIALIZER is {options.initializer!r}, but {named(error)}."
    if options.dead_letters is not None and (why := _unusable(options.dead_letters)):
        yield f"MPWORKERS_DEAD_LETTERS is {str(options.dead_letters)!r}, but {why}."
    if options.journal:
        yield from _of_journal(Path(crawler.settings["JOBDIR"]), crawler)


def _of_backend(
    crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop], are_wanted: bool
) -> Iterator[str]:
    try:
        plans = plans_of(options, hops, are_wanted).levels
        if not any(plan.settings.pool.workers for plan in plans):
            return
        backend = find_backend(options.backend)(crawler, options, plans)
        getattr(backend, "check", lambda: None)()
    except SettingError as error:
        yield str(error)
    # Whatever the code of a third party raises.
    except (Exception, SystemExit) as error:
        yield (
            f"MPWORKERS_BACKEND is {options.backend!r}, but that backend cannot be made: "
            f"{named(error)}"
        )


def _of_journal(folder: Path, crawler: Crawler) -> Iterator[str]:
    path = folder / FILE_NAME
    if why := _unusable(path):
        yield f"MPWORKERS_JOURNAL is True, but {why}."
    if why or not path.exists():
        return
    # A copy: to open a journal is to write to it, and its crawl may be running.
    with tempfile.TemporaryDirectory() as copy:
        for companion in (path, Path(f"{path}-wal")):
            with suppress(FileNotFoundError):
                shutil.copy2(companion, copy)
        try:
            Journal(Path(copy), crawler).release()
        except (MPWorkersError, OSError) as error:
            yield str(error).replace(copy, str(folder))


def _unusable(path: Path) -> str:
    """Say why the file cannot be written to, or be made if it is not there; empty: it can."""
    try:
        os.close(read_private(path))
    except FileNotFoundError:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            return f"{folder} is not a folder"
        can_be_made = os.access(folder, os.W_OK | os.X_OK)
        return "" if can_be_made else f"nothing can be written to the folder {folder}"
    except OSError as error:
        return f"that file cannot be used: {error}"
    return "" if os.access(path, os.W_OK) else "that file cannot be written to"
