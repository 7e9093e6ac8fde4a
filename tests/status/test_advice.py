"""Each sentence of the advice has figures that it is for, and figures next to them that it is not
for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from scrapy_mpworkers.status.advice import CrawlFigures, LevelFigures, verdict

GIB = 1 << 30


def level(share: float = 0.5, workers: int = 2, **figures: Any) -> LevelFigures:
    """A level that has run for 100 s, with items of 10 ms."""
    busy = share * 100 * workers
    plain = {"lived": 100.0 * workers, "busy": busy, "service": busy, "done": round(busy * 100)}
    return LevelFigures(workers=workers, submitted=100, **plain | figures)


def said(*levels: LevelFigures, **figures: Any) -> str:
    return verdict(CrawlFigures(levels, **{"cpus": 4} | figures))


FULL, SOME, LITTLE = level(0.95), level(0.5), level(0.1)
HUNG = level(0.01, workers=1, busy=99.0)
CHEAP = level(0.1, service=0.02, busy=0.02, done=1000)
QUICK = level(0.1, service=0.8, busy=0.8, done=1000, of="callbacks")
NO_DOWNLOADS = {"downloads": 3.0, "max_downloads": 16}
MANY_DOWNLOADS = {"downloads": 15.0, "max_downloads": 16}


@pytest.mark.parametrize(
    ("sentence", "right", "wrong"),
    [
        ("nothing came to the workers", said(LevelFigures()), said(SOME)),
        (
            "nothing came to the workers",
            said(LevelFigures()),
            said(level(0, deaths=Counter(exit_3=60))),
        ),
        (
            "38 died (37 × exit_3, 1 × SIGKILL)",
            said(level(0, deaths=Counter(exit_3=37, SIGKILL=1))),
            said(level(0.5, deaths=Counter(exit_3=37, SIGKILL=1))),
        ),
        ("the errors above say why", said(level(0)), said(SOME)),
        ("items that came to nothing", said(HUNG), said(FULL)),
        (
            "items that came to nothing",
            said(level(0.01, workers=1, running=[98.0]), is_over=False),
            said(level(0.5, workers=1, service=40.0, running=[9.0]), is_over=False),
        ),
        ("more workers would help", said(FULL), said(SOME)),
        ("more workers would help", said(level(0.95, waited=0.1)), said(FULL, cpus=2)),
        ("every CPU (2) has one", said(FULL, cpus=2), said(level(0.95, workers=8), cpus=2)),
        (
            "more workers (8) than CPUs (2)",
            said(level(0.95, workers=8), cpus=2),
            said(FULL, cpus=2),
        ),
        (
            "waited for 90% of that",
            said(level(0.95, waited=0.9), cpus=2),
            said(level(0.95, waited=0.2), cpus=2),
        ),
        (
            "also more than CPUs (2)",
            said(level(0.95, workers=8, waited=0.9), cpus=2),
            said(level(0.95, workers=8), cpus=2),
        ),
        (
            "there is no memory for them",
            said(level(0.95, memory=3 * GIB), memory=8 * GIB),
            said(level(0.95, memory=GIB), memory=8 * GIB),
        ),
        (
            "take 94% of the memory there is, 3840 MiB each",
            said(level(0.5, memory=15 * GIB // 4), memory=8 * GIB),
            said(level(0.5, memory=GIB), memory=8 * GIB),
        ),
        ("inline (ITEM_PIPELINES) would be faster", said(CHEAP), said(SOME)),
        (
            "inline (ITEM_PIPELINES) would be faster",
            said(CHEAP),
            said(level(0.1, service=0.02, busy=0.02, done=1000, has_batches=True)),
        ),
        ("out of MPWORKERS_CALLBACKS", said(QUICK), said(level(0.1, service=0.8, done=1000))),
        ("out of MPWORKERS_CALLBACKS", said(QUICK), said(level(0.1, of="callbacks"))),
        ("out of MPWORKERS_CALLBACKS", said(QUICK), said(CHEAP)),
        ("Scrapy's own process was busy 97%", said(SOME, scrapy=0.97), said(FULL, scrapy=0.97)),
        ("Scrapy's own process was busy 97%", said(LITTLE, scrapy=0.97), said(LITTLE, scrapy=0.5)),
        (
            "waits for its downloads, 15 at a time (CONCURRENT_REQUESTS is 16)",
            said(LITTLE, **MANY_DOWNLOADS),
            said(LITTLE, **NO_DOWNLOADS),
        ),
        ("bound elsewhere", said(LITTLE, **NO_DOWNLOADS), said(LITTLE, **MANY_DOWNLOADS)),
        ("fewer workers would do", said(LITTLE), said(level(0.1, workers=1))),
        ("a good fit", said(SOME), said(HUNG)),
        ("a good fit", said(SOME), said(LITTLE)),
        (
            "in Scrapy's own process: workers would free it",
            said(LevelFigures(workers=0, submitted=9, lived=9, busy=8, service=8, done=9)),
            said(FULL),
        ),
    ],
)
def test_sentence_is_said_where_it_is_right_and_not_next_to_that(
    sentence: str, right: str, wrong: str
) -> None:
    assert sentence in right
    assert sentence not in wrong


def test_callbacks_are_not_called_items_or_pipelines() -> None:
    died = Counter(SIGSEGV=3)
    lines = [
        said(level(0.01, workers=1, busy=99.0, of="callbacks")),
        said(level(0, of="callbacks")),
        said(level(0, deaths=died, of="callbacks")),
        said(level(0.95, of="callbacks"), cpus=2),
        said(level(0.9, workers=0, of="callbacks")),
    ]

    for line in lines:
        assert "callbacks" in line
        assert "pipeline" not in line
        assert "item" not in line


def test_level_behind_a_full_one_is_not_bound_elsewhere() -> None:
    advice = said(level(0.95, name="compute"), level(0.1, name="store"))

    assert "workers of the level compute were busy 95%" in advice
    assert "more workers of the level compute would help" in advice
    assert "bound elsewhere" not in advice


def test_full_level_is_found_behind_an_idle_one() -> None:
    advice = said(level(0.1, name="compute"), level(0.95, workers=1, name="store"), cpus=2)

    assert "more workers of the level store would help" in advice


def test_nothing_is_said_before_there_is_enough_to_go_by() -> None:
    young = LevelFigures(submitted=9, lived=3.0, busy=2.9, service=2.9, done=9)

    assert said(LevelFigures(), is_over=False) == ""
    assert said(level(0), is_over=False) == ""
    assert said(young) == said(young, is_over=False) == ""
