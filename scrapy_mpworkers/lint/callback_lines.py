"""Writes a line for each thing that is wrong with a callback in a worker."""

from __future__ import annotations

from scrapy_mpworkers.lint.findings import Finding, Kind, Report, failing, joined, name_of
from scrapy_mpworkers.wire.crawl import Placement

_WAYS = "Yield it, hand it on in cb_kwargs, or count it in the stats (crawler.stats)"


def callback_warnings(report: Report, placement: Placement, callback: str, out: str) -> list[str]:
    """List the warnings for a callback; the arguments are those of :func:`failure_lines`."""
    return [
        f"{name_of(report.cls)}.{callback} {what}; or {out}."
        for finding in report.findings
        if placement.workers > 0 and (what := _wrong(finding, placement))
    ]


def why_at_home(report: Report, placement: Placement) -> str:
    """Say in a few words why a callback is right in Scrapy's process; empty: it is in a worker."""
    if report.failures:
        return f"it uses {failing(report.failures[0])}"
    for finding in report.findings:
        if _wrong(finding, placement):
            return f"it {_deed(finding)}"
    return ""


def _wrong(finding: Finding, placement: Placement) -> str:
    """Say what is wrong with it there; empty: nothing is."""
    many = placement.workers > 1
    deed = _deed(finding)
    if finding.kind is Kind.STATE and many:
        return (
            f"{deed}. Each of the {placement.workers} workers has its own, which knows nothing of "
            f"the pages of the others. {_WAYS}"
        )
    if finding.kind is Kind.LOST:
        return (
            f"{deed}. What it changes in a worker stays there: neither the spider of Scrapy's "
            f"process nor other workers see it. {_WAYS}"
        )
    if finding.kind is Kind.FILE and (many or finding.truncates):
        fault = "overwrites what the others write" if finding.truncates else "mixes its lines in"
        return (
            f"{deed}, and each worker {fault}. Yield items, and have a feed or a pipeline write "
            "the file"
        )
    return ""


def _deed(finding: Finding) -> str:
    what = joined(finding.names)
    if finding.kind is Kind.STATE:
        return f"keeps {what} from page to page"
    return f"changes {what}" if finding.kind is Kind.LOST else f"writes by {what}"
