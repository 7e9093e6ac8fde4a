"""The snapshot shows which worker is at which item, and what has happened to it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from .harness import offload, worlds

if TYPE_CHECKING:
    from .harness import Launcher, World

SHOWS = {"EXTENSIONS": {"crawled.watching.Shows": 500}}


@worlds()
def test_snapshot_names_the_item_of_each_worker_and_of_one_that_was_killed(
    launch: Launcher, world: World
) -> None:
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"), **SHOWS)
    at_work = dict(crawl.wait_told("busy", 2))
    number, victim = sorted(at_work.items())[0]
    busy = crawl.wait_until_told(
        "shown", lambda fact: {at[1] for at in fact[1].values()} == set(map(str, at_work))
    )
    name = next(name for name, (_, _, pid) in busy[1].items() if pid == victim)

    os.kill(victim, signal.SIGKILL)
    crawl.wait_until_told("shown", lambda fact: ["death", name, str(number)] in fact[2])
    crawl.open_gate()
    ended = crawl.finish()

    shown: list[Any] = ended.told("shown")
    assert shown[-1][0] == "stopped"
    assert shown[-1][3] == [6]
    assert [kind for kind, _, _ in shown[-1][2]] == ["death", "redelivery"]
    assert any(f"{name.partition('.')[0]}.1" in fact[1] for fact in shown)
    assert {fact[0] for fact in shown} >= {"running", "stopped"}
    assert "Traceback" not in ended.log


@worlds()
def test_snapshot_of_a_crawl_that_gives_an_item_up_names_it_and_says_so(
    launch: Launcher, world: World
) -> None:
    limit = {"MPWORKERS_ITEM_TIMEOUT": 0.3}
    crawl = launch.crawl("pages", world, "items=8", **offload("Stuck7"), **SHOWS, **limit)
    ended = crawl.finish()

    state, _, events, done = ended.told("shown")[-1]
    assert (state, done) == ("stopped", [7])
    assert ["dead_letter", "7"] in [[kind, label] for kind, _, label in events]
    assert ["death", "7"] in [[kind, label] for kind, _, label in events]
