"""Judges the callbacks that are to run in workers, for a crawl that begins and for ``check``."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from scrapy import Spider

from scrapy_mpworkers.callbacks import ONE_OF_ALL, Choice, Reason, chosen
from scrapy_mpworkers.crawl.context import Carrier
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.lint import (
    Kind,
    Report,
    callback_warnings,
    callbacks_of,
    failure_lines,
    inspect_spider,
    not_inspected,
    why_at_home,
    with_missing,
)
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.effects import change_of_spider
from scrapy_mpworkers.wire.texts import ascii_safe

logger = logging.getLogger(__name__)


class Judged(NamedTuple):
    """A callback that is to run in a worker, and what is to be said of it.

    Attributes:
        stays: why it runs in Scrapy's process all the same, where only ``True`` has asked for it;
            then nothing of it would fail, and there are no warnings.
    """

    name: str
    reason: Reason
    report: Report
    stays: str = ""
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Judge:
    """Judges the callbacks of a spider by their source.

    Args:
        wanted: as in ``Choice``.
        placement: of the level whose workers take them.
    """

    def __init__(
        self, spidercls: type[Spider], wanted: Iterable[str] | bool, placement: Placement
    ) -> None:
        callbacks = callbacks_of(spidercls) if wanted is True else ()
        self._reasons = chosen(spidercls, wanted, callbacks)
        self._reports = inspect_spider(spidercls, list(self._reasons))
        self._placement = placement

    def look_at(self, spider: Spider, codec: ParentCodec) -> None:
        """Find out which attributes that they touch cannot be sent to workers."""
        touched = {one for report in self._reports.values() for one in report.capabilities}
        carrier, missing = Carrier(codec), dict[str, str]()
        for name, value in list(vars(spider).items()):
            if f"spider.{name}" in touched and (carried := carrier.carry(value)).frame is None:
                missing[name] = carried.why
        self._reports = {name: with_missing(one, missing) for name, one in self._reports.items()}

    def judged(self) -> list[Judged]:
        """Return what is to be said of each."""
        return [self._judged(name, report) for name, report in self._reports.items()]

    def _judged(self, name: str, report: Report) -> Judged:
        reason, placement = self._reasons[name], self._placement
        if reason is ONE_OF_ALL:
            # Judged as for two workers at least, because the place must not depend on their number,
            # and a single worker that is replaced loses what the callback remembers, too.
            stays = why_at_home(report, placement._replace(workers=max(2, placement.workers)))
            return Judged(name, reason, report, stays)
        failures = failure_lines(report, placement, name, reason.way_out)
        warnings = callback_warnings(report, placement, name, reason.way_out)
        return Judged(name, reason, report, "", tuple(failures), tuple(warnings))


def judge_callbacks(
    spider: Spider,
    choice: Choice,
    wanted: Iterable[str] | bool,
    placement: Placement,
    codec: ParentCodec,
    effects: EffectsSink,
) -> None:
    """Leave out of *choice* what only ``True`` has asked for and no worker can run rightly, and
    warn of what was named or marked."""
    judge = Judge(type(spider), wanted, placement)
    judge.look_at(spider, codec)
    lost: dict[str, None] = {}
    judged = judge.judged()
    if enabled := [one.name for one in judged if not one.stays]:
        logger.info("Enabled worker callbacks: %s", ", ".join(enabled))
    for one in judged:
        if one.stays:
            choice.stays[one.name] = one.stays
            why = ascii_safe(one.stays)
            logger.info("The callback %s stays in Scrapy's own process: %s", one.name, why)
        for line in (*one.failures, *one.warnings):
            logger.warning("%s", ascii_safe(line))
        for attribute in _changed(one) if one.warnings else ():
            effects.has_said(change_of_spider("A callback", attribute))
        if one.report.error:
            lost[not_inspected(one.report)] = None
    for line in lost:
        logger.warning("%s", line)


def _changed(one: Judged) -> list[str]:
    """List the attributes of the spider of which a warning says that a callback changes them."""
    names = [name for found in one.report.of(Kind.STATE, Kind.LOST) for name in found.names]
    return [name.removeprefix("self.") for name in names if name.startswith("self.")]
