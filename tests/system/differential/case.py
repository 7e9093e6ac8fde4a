"""What a differential case is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scrapy import Spider


@dataclass(frozen=True)
class Expected:
    """How many items meet each end. A case that yields nothing would prove nothing."""

    scraped: int = 0
    dropped: int = 0
    failed: int = 0

    @property
    def items(self) -> int:
        return self.scraped + self.dropped + self.failed


@dataclass(frozen=True)
class Case:
    """One spider with its callbacks and pipelines, to be run inline and offloaded.

    Attributes:
        pipelines: ``MPWORKERS_PIPELINES``.
        callbacks: ``MPWORKERS_CALLBACKS``.
        called: how many callbacks run in workers.
        stays: how many of them are told to run in Scrapy's own process after all.
        levels: ``MPWORKERS_LEVELS``, where there are several.
        reactor_pipelines: ``ITEM_PIPELINES``.
        spider_middlewares: ``SPIDER_MIDDLEWARES``.
        submitted: how many items cross into workers, each hop counted; by default every item once,
            if there are pipelines.
        feed_lines: by default one for each scraped item.
        alike: whether it is one of many that differ only in their combination of the same parts.
        excluded: loop modes in which the case cannot run *inline*, each with the reason.
        not_compared: aspects of an outcome (``compare.ASPECTS``) that no rule fixes in this case,
            each with the reason.
    """

    name: str
    spider: type[Spider]
    pipelines: Mapping[Any, int | None]
    expected: Expected
    reactor_pipelines: Mapping[Any, int | None] = field(default_factory=dict)
    spider_middlewares: Mapping[Any, int | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    spider_arguments: Mapping[str, Any] = field(default_factory=dict)
    levels: Sequence[Mapping[str, Any]] = ()
    callbacks: Sequence[str] | bool = ()
    called: int = 0
    stays: int = 0
    workers: int = 2
    submitted: int | None = None
    feed_lines: int | None = None
    alike: bool = False
    excluded: Mapping[str, str] = field(default_factory=dict)
    not_compared: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected_submitted(self) -> int:
        if self.submitted is not None:
            return self.submitted
        return self.expected.items if self.pipelines or self.levels else 0

    @property
    def expected_feed_lines(self) -> int:
        return self.expected.scraped if self.feed_lines is None else self.feed_lines
