"""Finds which callbacks of a spider would run in workers, for ``check``, and writes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scrapy import Spider

from scrapy_mpworkers.backends.base import Plans
from scrapy_mpworkers.callbacks import not_there
from scrapy_mpworkers.crawl.callback_check import Judge, Judged
from scrapy_mpworkers.settings import LevelSettings, WorkerSettings


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of a spider that are to run in workers.

    ``level``: whose workers run them; ``judged``: each of them; ``None``: no spider is meant.
    """

    level: LevelSettings
    judged: tuple[Judged, ...] | None

    @property
    def would_fail(self) -> int:
        return sum(len(one.report.failures) for one in self.judged or () if not one.stays)

    @property
    def warnings(self) -> int:
        return sum(len(one.warnings) for one in self.judged or ())


def callbacks_of(
    plans: Plans, options: WorkerSettings, spidercls: type[Spider]
) -> Callbacks | None:
    """Judge the callbacks of a spider; return ``None`` if none of them is to run in a worker."""
    if plans.callbacks_at is None:
        return None
    level = plans.levels[plans.callbacks_at].settings
    if spidercls is Spider:
        return Callbacks(level, None)
    return Callbacks(level, tuple(Judge(spidercls, options.callbacks, level.placement).judged()))


def names_of_no_callback(
    spiders: Sequence[type[Spider]], wanted: Iterable[str] | bool
) -> list[str]:
    """List a line for each name that is listed, and no method of any of *spiders*."""
    if len(spiders) == 1:
        return [absent.line for absent in not_there(spiders[0], wanted)]
    names = [] if isinstance(wanted, bool) else wanted
    return [
        f"MPWORKERS_CALLBACKS lists {name}, but no spider of the project has such a method"
        for name in names
        if all(not_there(one, [name]) for one in spiders)
    ]
