"""A text has one hash in all workers of a crawl, as it has one where all pipelines run inline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .harness import worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, World


def crawl(launch: Launcher, world: World) -> Ended:
    levels: list[dict[str, Any]] = [
        {"name": "first", "pipelines": {"crawled.hashes.Hashes": 300}, "workers": 1},
        {"name": "second", "pipelines": {"crawled.hashes.HashesToo": 400}, "workers": 2},
    ]
    settings = {
        "MPWORKERS_LEVELS": levels,
        "ITEM_PIPELINES": {"crawled.hashes.HashesHere": 100},
    }
    ended = launch.crawl("pages", world, "items=30", **settings).finish()
    assert ended.numbers == list(range(1, 31))
    assert ended.stats["mpworkers/workers/deaths"] == 1
    return ended


def values(ended: Ended, *names: str) -> set[int]:
    return {item[name] for item in ended.items for name in names}


@worlds()
def test_all_workers_agree_and_the_programs_that_they_start_are_left_alone(
    launch: Launcher, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)

    assert_workers_agree(crawl(launch, world), None)


@worlds(plain=False)
def test_so_do_they_where_the_user_wants_hashes_to_be_random(
    launch: Launcher, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "random")

    assert_workers_agree(crawl(launch, world), "random")


def assert_workers_agree(ended: Ended, users: str | None) -> None:
    [common] = values(ended, "first", "second")
    opened = ended.told("opened")
    assert len(opened) >= 3  # one was killed and replaced
    assert {variable for variable, _, _ in opened} == {users}
    assert all(ours == [] for _, _, ours in opened)
    assert len({of_program for _, of_program, _ in opened} - {common}) >= 2


@worlds(plain=False)
def test_where_the_user_has_set_a_seed_workers_agree_with_the_crawl(
    launch: Launcher, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "123")

    ended = crawl(launch, world)

    [common] = values(ended, "here", "first", "second")
    assert {(of_program, variable) for variable, of_program, _ in ended.told("opened")} == {
        (common, "123")
    }
