"""Where pipelines run, as far as it decides what is right there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # workers import this module, and have no use for that one
    from scrapy_mpworkers.settings import LevelSettings


class Placement(NamedTuple):
    """Where pipelines run.

    ``workers``: of the level, 0: in Scrapy's process; ``keyed``: whether equal keys meet the same
    worker; ``batches``: whether items come many at a time; ``waits``: whether the crawl waits.
    """

    workers: int
    keyed: bool = False
    batches: bool = False
    waits: bool = True

    @property
    def divides(self) -> bool:
        """Whether items that belong together may meet different workers."""
        return self.workers > 1 and not self.keyed


def placement_of(level: LevelSettings) -> Placement:
    """Where the pipelines of *level* run."""
    batches = level.batch_size > 0
    return Placement(int(level.pool.workers), level.key is not None, batches, level.wait)
