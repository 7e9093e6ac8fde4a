"""Writes the text that ``scrapy mpworkers check`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from textwrap import wrap

from scrapy_mpworkers.commands.check import Check, Step
from scrapy_mpworkers.crawl.callback_check import Judged
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.lint import Failure, Kind, Report, not_inspected
from scrapy_mpworkers.settings import LevelSettings

_wrap = partial(wrap, width=100, break_long_words=False, break_on_hyphens=False)


def findings(check: Check, whose: str) -> str:
    """Return the whole text. *whose* settings were checked, in a few words."""
    warnings = f"{check.warnings} warning{'' if check.warnings == 1 else 's'}"
    fails = f"{check.would_fail} would fail" if check.would_fail else "nothing would fail"
    last = f"In a worker {fails}, {warnings}."
    return "\n".join(
        [f"Checked: {whose}", "", *_failures(check), *_line(check), *_callbacks(check), last]
    )


def _failures(check: Check) -> Iterator[str]:
    for failure in check.failures:
        yield from _entry("would fail", failure, 0)
    for line in check.of_settings:
        yield from _entry("warning", line, 0)
    if check.failures or check.of_settings:
        yield ""


def _line(check: Check) -> Iterator[str]:
    if check.options is not None and not check.options.enabled:
        yield "MPWORKERS_ENABLED is False: all pipelines and callbacks run in Scrapy's process."
        yield ""
    hop: Hop | None = None
    for step in check.steps:
        if step.hop is None:
            yield f"{step.order!s:>6}  {step.path}  in Scrapy's process"
            for failure in step.failures:
                yield from _entry("would fail", failure.why)
        elif check.options is not None:
            if step.hop != hop:
                yield _hop(step.hop, check.options.levels[step.hop.level])
            yield from _step(step)
        hop = step.hop
    if check.steps:
        yield ""


def _callbacks(check: Check) -> Iterator[str]:
    callbacks = check.callbacks
    if callbacks is None:
        return
    yield f"{'':6}  callbacks: {', '.join(_place(callbacks.level))}"
    if callbacks.judged is None:
        yield from _entry("", "scrapy mpworkers check SPIDER shows those of a spider")
    elif not callbacks.judged:
        yield from _entry("", _none(check))
    for one in callbacks.judged or ():
        yield from _callback(one)
    yield ""


def _none(check: Check) -> str:
    if check.options is not None and check.options.callbacks is True:
        return "the source of the spider shows none that can be named"
    return "none of this spider is listed or marked: -s MPWORKERS_CALLBACKS=True shows what it has"


def _callback(one: Judged) -> Iterator[str]:
    yield f"{'':10}{one.name}  {one.reason.why}"
    report = one.report
    yield from _report(report, "nothing is said of it")
    for failure in () if one.stays else report.failures:
        yield from _entry("would fail", _failure(failure))
    for line in one.warnings:
        yield from _entry("warning", line)
    is_right = not (one.stays or report.failures or one.warnings)
    why = f", as {one.stays}" if one.stays else ""
    yield from _entry("placement", "as it is" if is_right else f"Scrapy's process{why}")


def _hop(hop: Hop, level: LevelSettings) -> str:
    parts = _place(level)
    if level.key is not None:
        parts.append(f"key {getattr(level.key, '__name__', level.key)}")
    if level.batch_size:
        parts.append(f"batches of {level.batch_size} or {level.batch_seconds:g} s")
    if not level.wait:
        parts.append("the crawl does not wait for it")
    return f"{'':6}  hop {hop.number + 1}: {', '.join(parts)}"


def _place(level: LevelSettings) -> list[str]:
    """Say in which level something runs, and how many workers that has."""
    count = level.pool.workers
    workers = f"{count} worker{'s' if count > 1 else ''}"
    parts = [f"level {level.name}"] if level.name else []
    return [*parts, workers if count else "in Scrapy's process (MPWORKERS_WORKERS is 0)"]


def _step(step: Step) -> Iterator[str]:
    yield f"{step.order!s:>6}    {step.path}"
    if step.report is not None:
        yield from _report(step.report, "the first items will tell")
    for failure in step.failures:
        is_whole = failure.why.startswith(("MPWORKERS_", step.path))
        yield from _entry("would fail", failure.why if is_whole else _failure(failure))
    for line in step.warnings:
        yield from _entry("warning", line)
    if step.advice:
        yield from _entry("placement", step.advice)


def _report(report: Report, of_unread: str) -> Iterator[str]:
    yield from _entry("touches", ", ".join(report.capabilities) or "neither crawler nor spider")
    for cache in report.of(Kind.CACHE):
        yield from _entry("cache", f"{', '.join(cache.names)}: each worker fills its own")
    if report.error:
        yield from _entry("unread", not_inspected(report))
    elif report.unread:
        yield from _entry("unread", f"{', '.join(report.unread)}: {of_unread}")


def _failure(failure: Failure) -> str:
    where = f" ({failure.where})" if failure.where else ""
    return f"{failure.what}: {failure.why}{where}"


def _entry(label: str, text: str, indent: int = 12) -> list[str]:
    head = f"{'':{indent}}{label:<12}"
    return _wrap(text, initial_indent=head, subsequent_indent=" " * len(head))
