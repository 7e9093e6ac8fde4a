"""On Windows there are no workers: said in one sentence, and all works in Scrapy's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .harness import World

if TYPE_CHECKING:
    from .harness import Launcher

#: The only start method there; and a reactor that can be had without Windows' own event loops.
WINDOWS = World("default", "spawn")


@pytest.mark.parametrize("setting", ["MPWORKERS_WORKERS", "MPWORKERS_ENABLED"])
def test_a_crawl_without_workers_works_where_posix_is_missing(
    launch: Launcher, setting: str
) -> None:
    ended = launch.script("windows.py", world=WINDOWS, **{setting: 0}).finish()

    assert ended.numbers == [1, 2, 3]
    assert ended.told("called") == [4]
    assert "Traceback" not in ended.log


@pytest.mark.parametrize(
    "asked",
    [{"MPWORKERS_DEAD_LETTERS": "dead.jsonl"}, {"MPWORKERS_JOURNAL": True, "JOBDIR": "job"}],
    ids=["dead letters", "journal"],
)
def test_a_file_that_needs_locks_is_refused_by_name(
    launch: Launcher, asked: dict[str, Any]
) -> None:
    ended = launch.script("windows.py", world=WINDOWS, MPWORKERS_WORKERS=0, **asked).finish()

    assert f"The crawl cannot start: {next(iter(asked))} needs Linux or macOS" in ended.log
    assert "NameError" not in ended.log
    assert ended.numbers == []


def test_a_crawl_with_workers_says_what_to_set(launch: Launcher) -> None:
    ended = launch.script("windows.py", world=WINDOWS).finish()

    assert ended.log.count("The crawl cannot start: worker processes need Linux or macOS") == 1
    assert "MPWORKERS_WORKERS = 0" in ended.log
    assert ended.numbers == []
