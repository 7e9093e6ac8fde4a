"""What would run where, and what of it would fail in a worker: found without building anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from scrapy_mpworkers.backends.preloading import settings_module_to_import_again
from scrapy_mpworkers.commands.startable import obstacles
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.hops import Hop, hops_of, is_component, on_the_reactor
from scrapy_mpworkers.lint import (
    Failure,
    Report,
    inspect,
    name_of,
    settings_lines,
    suggestion,
    warnings,
)
from scrapy_mpworkers.settings import LevelSettings, WorkerSettings, read_settings
from scrapy_mpworkers.wire.entries import Entry, as_pipeline, import_path, key_function
from scrapy_mpworkers.worker.pipelines import refuse_unfit


@dataclass(frozen=True)
class Step:
    """A pipeline on the number line.

    Attributes:
        hop: the trip to workers that it is part of; ``None``: it runs in Scrapy's process.
        report: what its source tells; ``None`` in Scrapy's process, or if it cannot be imported.
    """

    order: Any
    path: str
    hop: Hop | None = None
    report: Report | None = None
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True)
class Check:
    """The whole of it. ``failures``: of the settings; those of a class are with its step.

    ``of_settings``: warnings of lines of the settings module.
    """

    options: WorkerSettings | None = None
    steps: tuple[Step, ...] = ()
    failures: tuple[str, ...] = ()
    of_settings: tuple[str, ...] = ()

    @property
    def would_fail(self) -> int:
        """How many things would."""
        return len(self.failures) + sum(len(step.failures) for step in self.steps)

    @property
    def warnings(self) -> int:
        """How many there would be."""
        return len(self.of_settings) + sum(len(step.warnings) for step in self.steps)


def check_settings(settings: BaseSettings, spidercls: type[Spider]) -> Check:
    """Check a crawl of *spidercls* with these settings. No reactor is installed or imported."""
    try:
        crawler = Crawler(spidercls, settings)  # type: ignore[arg-type]
        crawler.addons.load_settings(crawler.settings)
        options = read_settings(crawler.settings)
        hops = hops_of(crawler.settings, options)
    except SettingError as error:
        return Check(failures=(str(error),))
    # Of other add-ons too: whatever it is, the crawl stops there.
    except Exception as error:
        return Check(failures=(f"{type(error).__name__}: {error}",))
    failures = tuple(_failures(crawler, options, hops))
    steps = [step for hop in hops for step in _steps_of(hop, options)]
    steps += [_beside(entry, order) for entry, order in on_the_reactor(crawler.settings)]
    of_settings = tuple(settings_lines(settings_module_to_import_again(options, hops)))
    steps.sort(key=lambda step: step.order)
    return Check(options, tuple(steps), failures, of_settings)


def _beside(entry: Entry, order: Any) -> Step:
    """Make the step of a pipeline in Scrapy's process, whose import may stop the crawl, too."""
    return Step(order, import_path(entry), failures=tuple(filter(None, [_load(entry)[1]])))


def _failures(crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> Iterator[str]:
    if not options.levels:
        yield "MPWORKERS_PIPELINES and MPWORKERS_LEVELS list no pipeline, so there are no workers."
    elif options.enabled and not hops:
        yield (
            "No worker gets an item: nothing stands for them in ITEM_PIPELINES. Add "
            'ADDONS = {"scrapy_mpworkers.Addon": 500}.'
        )
    elif options.enabled and not _has_extension(crawler.settings):
        yield (
            "scrapy_mpworkers.WorkerPipeline needs its extension: add "
            'EXTENSIONS = {"scrapy_mpworkers.WorkerExtension": 0}.'
        )
    for level in options.levels:
        yield from _failures_of_level(level)
    if options.enabled:
        yield from obstacles(crawler, options, hops)


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


def _has_extension(settings: BaseSettings) -> bool:
    enabled = settings.getdict("EXTENSIONS").items()
    name = "extension.WorkerExtension"
    return any(is_component(entry, name) for entry, order in enabled if order is not None)


def _steps_of(hop: Hop, options: WorkerSettings) -> Iterator[Step]:
    level = options.levels[hop.level]
    orders = {import_path(entry): order for entry, order in level.pipelines}
    # Of the whole level: what else it does decides what is advised.
    loaded = {import_path(entry): _load(entry) for entry, _ in level.pipelines}
    reports = {path: _report(cls) for path, (cls, _) in loaded.items()}
    known = [report for report in reports.values() if report is not None]
    lines = warnings(known, level.placement)
    for path in hop.paths:
        yield _step(hop, path, orders[path], loaded[path], reports[path], level, lines)


def _step(
    hop: Hop,
    path: str,
    order: Any,
    loaded: tuple[type | None, Failure | None],
    report: Report | None,
    level: LevelSettings,
    lines: Sequence[str],
) -> Step:
    cls, failure = loaded
    if report is None or cls is None:
        return Step(order, path, hop, failures=tuple(filter(None, [failure])))
    failures = tuple(_failures_of_class(cls, report))
    own = tuple(line for line in lines if line.startswith(f"{name_of(cls)} "))
    place = "ITEM_PIPELINES" if failures else suggestion(report, level.placement)
    return Step(order, path, hop, report, failures, own, place)


def _failures_of_class(cls: type, report: Report) -> Iterator[Failure]:
    try:
        refuse_unfit(cls)
    except SettingError as error:
        yield Failure(cls.__qualname__, str(error))
        return
    yield from report.failures


def _load(entry: Entry) -> tuple[type | None, Failure | None]:
    try:
        return as_pipeline(load_object(entry)), None
    # Whatever the user's module raises when it is imported.
    except (Exception, SystemExit) as error:
        return None, Failure(import_path(entry), f"{type(error).__name__}: {error}")


def _report(cls: type | None) -> Report | None:
    return None if cls is None else inspect(cls)
