"""Names what the inspection of a pipeline can find, and writes a line for each.

Only what matters where the pipeline runs gets a line, which says what, why, and the ways out.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.entries import import_path

_ONE_WORKER = 'a level of its own with "workers": 1 in MPWORKERS_LEVELS'
_KEEP = "keep this pipeline in ITEM_PIPELINES"
_KEY = 'a level of its own with "workers": 1 (or a "key") in MPWORKERS_LEVELS'


class Kind(Enum):
    """Says what was seen. ``CACHE`` is harmless, and told so that nothing else warns of it."""

    STATE = "state"  #: remembers from item to item
    BUFFER = "buffer"  #: holds items until it is closed
    FILE = "file"  #: keeps a file open for writing, or appends to one
    WAITS = "waits"  #: mostly waits for the network
    STORES = "stores"  #: mostly waits for a database or another store
    LOST = "lost"  #: fills what nothing of the pipeline reads, and its process does not give back
    CACHE = "cache"  #: keeps what it could compute again


class Finding(NamedTuple):
    """Describes one thing seen in a class."""

    kind: Kind
    names: tuple[str, ...]  #: attributes, globals or calls, sorted
    truncates: bool = False  #: of a file, whether opening it empties it
    is_async: bool = False  #: of waiting, whether it leaves the loop free


class Failure(NamedTuple):
    """Describes what is used and would not work in a worker, and why it fails there."""

    what: str
    why: str
    where: str = ""  #: file and line
    instead: str = ""  #: what does the same in a worker, if anything does


class Report(NamedTuple):
    """Holds all that was found in a class."""

    cls: type
    findings: tuple[Finding, ...]
    known: frozenset[str]  #: attributes whose changes the source tells
    capabilities: tuple[str, ...]  #: what it uses of crawler and spider, sorted
    failures: tuple[Failure, ...]
    unread: tuple[str, ...]  #: classes without source
    error: str = ""  #: why it could not be inspected, if so

    def of(self, *kinds: Kind) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind in kinds]


def by_kind(kinds: Mapping[str, Kind], told: Iterable[Kind]) -> list[Finding]:
    """List a finding for each kind of *told* that targets have, with their names."""
    targets = {kind: [name for name, own in kinds.items() if own is kind] for kind in told}
    return [Finding(kind, tuple(sorted(names))) for kind, names in targets.items() if names]


def warnings(reports: Sequence[Report], placement: Placement) -> list[str]:
    """List the warnings for the pipelines of one level."""
    stores_only = all(report.of(Kind.STORES, Kind.WAITS) for report in reports)
    return [
        line
        for report in reports
        for finding in report.findings
        if placement.workers > 0
        if (line := _line(finding, name_of(report.cls), placement, stores_only))
    ]


def lines_for(reports: Sequence[Report], placement: Placement) -> list[str]:
    """List all that a crawl says when workers start: what fails, is wrong, or was not seen."""
    fails = [line for report in reports for line in failure_lines(report, placement)]
    lost = [not_inspected(report) for report in reports if report.error and placement.workers]
    return [*fails, *warnings(reports, placement), *lost]


def not_inspected(report: Report) -> str:
    """Return the line for a class whose inspection has failed."""
    return (
        f"{name_of(report.cls)} could not be inspected ({report.error}), so nothing is known of "
        "what would be wrong with it in a worker; its items are not concerned. Please report this."
    )


def without_source(report: Report) -> str:
    """Return the line for classes that cannot be read."""
    return (
        f"{name_of(report.cls)}: the source of {joined(report.unread)} is not there, so nothing is "
        "said of it at the start; the first items will tell some of it."
    )


def failure_lines(
    report: Report, placement: Placement, callback: str = "", out: str = _KEEP
) -> list[str]:
    """List a line for each thing that would fail in the workers of a level.

    Args:
        callback: its name, if the report is on one of a spider.
        out: what to do so that it runs in Scrapy's process.
    """
    path = ".".join(filter(None, (name_of(report.cls), callback)))
    return [
        f"{path} uses {failing(one)}. "
        + (f"Use {one.instead}; or {out}." if one.instead else f"{out[0].upper()}{out[1:]}.")
        for one in report.failures
        if placement.workers > 0
    ]


def failing(failure: Failure) -> str:
    """Say what fails in a worker, where, and why."""
    where = f" ({failure.where})" if failure.where else ""
    return f"{failure.what}{where}, which fails in a worker: {failure.why}"


def suggestion(report: Report, placement: Placement) -> str:
    """Say in a few words where the pipeline is right."""
    if report.failures:
        return "ITEM_PIPELINES"
    if not warnings([report], placement):
        return "as it is"
    if report.of(Kind.LOST):
        return "ITEM_PIPELINES"
    if report.of(Kind.STATE):
        return f"{_KEY}, or ITEM_PIPELINES"
    if report.of(Kind.BUFFER, Kind.FILE):
        return f"{_ONE_WORKER}, or ITEM_PIPELINES"
    if report.of(Kind.STORES):
        return 'a level of its own with "batch_size" or "wait": False, or ITEM_PIPELINES'
    return "ITEM_PIPELINES with async def, or a level of its own with more workers than CPUs"


def name_of(cls: type) -> str:
    """Return the path of a pipeline, as settings write it."""
    named = getattr(cls, "function", None)  # of a pipeline that stands for a plain function
    return import_path(named if inspect.isfunction(named) else cls)


def remembers(name: str, what: str, placement: Placement) -> str:
    """Return the line for a memory of items, however it was found."""
    return (
        f"{name} {what}. Each of the {placement.workers} workers has its own, which knows nothing "
        f"of the items of the others. Give it {_ONE_WORKER}, or one with a "
        '"key", so that items that belong together meet the same worker; or keep it in '
        "ITEM_PIPELINES."
    )


def _line(finding: Finding, name: str, placement: Placement, stores_only: bool) -> str:
    what = joined(finding.names)
    if finding.kind is Kind.STATE and placement.divides:
        return remembers(name, f"remembers in {what} what it has seen of items", placement)
    if finding.kind is Kind.LOST:
        return (
            f"{name} adds to {what}, which nothing in it reads. A worker's memory never comes "
            "back, so whoever reads it in Scrapy's process, such as the script after the crawl, "
            "finds it as it was at the start, with one worker too. Put it into the item, into the "
            "stats (crawler.stats), or into a file or feed; or keep this pipeline in "
            "ITEM_PIPELINES."
        )
    if finding.kind is Kind.BUFFER:
        return _of_buffer(name, what, placement)
    if finding.kind is Kind.FILE and (placement.workers > 1 or finding.truncates):
        return _of_file(name, what, finding, placement)
    if finding.kind in (Kind.WAITS, Kind.STORES) and placement.waits and not placement.batches:
        return f"{name} mostly waits for {what}. {waiting_advice(finding, stores_only)}"
    return ""


def _of_buffer(name: str, what: str, placement: Placement) -> str:
    whose = "Each worker has its own, and one" if placement.workers > 1 else "A worker"
    level = '"batch_size"' if placement.workers == 1 else '"workers": 1 and "batch_size"'
    return (
        f"{name} collects items in {what} until close_spider. {whose} that dies takes what it "
        "holds along, though those items count as done. Store each item in process_item, or many "
        f"in process_batch in a level with {level}; or keep this pipeline in ITEM_PIPELINES."
    )


def _of_file(name: str, what: str, finding: Finding, placement: Placement) -> str:
    seen = f"writes by {what}"
    if what.startswith("self."):
        seen = f"keeps a file open for writing in {what}"
    if placement.workers == 1:
        return (
            f"{name} {seen}. If its worker is replaced, the next one opens it anew and empties it. "
            'Open it with "a", or keep this pipeline in ITEM_PIPELINES.'
        )
    fault = "so they overwrite each other" if finding.truncates else "so their lines get mixed"
    return (
        f"{name} {seen}. Each of the {placement.workers} workers "
        f"opens the file anew, {fault}. Give it {_ONE_WORKER}, where it opens with "
        '"a" and writes in process_batch; or keep this pipeline in ITEM_PIPELINES; or give each '
        "worker a file of its own, such as one with os.getpid() in its name."
    )


def waiting_advice(finding: Finding, stores_only: bool) -> str:
    """Say why workers do not speed up what waits, and what does."""
    why = "A worker has one item at a time, so it idles meanwhile."
    if finding.kind is Kind.STORES:
        where = "Give its level" if stores_only else "Give it a level of its own with"
        way = f'{where} "batch_size" and it process_batch, or "wait": False'
    else:
        way = "Give it a level of its own with many more workers than CPUs"
    keep = "keep it in ITEM_PIPELINES, where many items await at the same time."
    if not finding.is_async:
        keep = "make it async def with an async client and keep it in ITEM_PIPELINES."
    return f"{why} {way}; or {keep}"


def joined(names: Iterable[str]) -> str:
    """Write several names as a sentence has them."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
