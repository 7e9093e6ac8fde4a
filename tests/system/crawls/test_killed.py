"""A killed worker costs nothing; a killed crawl leaves nothing."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from .harness import offload, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, Site, World


@worlds()
def test_idle_worker_killed_is_replaced(launch: Launcher, site: Site, world: World) -> None:
    world.needs_http()
    urls = f"urls={site.url('first')} {site.url('held/second')}"
    crawl = launch.crawl("pages", world, urls, **offload("Mark"))
    crawl.wait_told("scraped", 6)
    victim, _ = crawl.wait_told("opened", 2)

    os.kill(victim, signal.SIGKILL)
    crawl.wait_told("opened", 3)
    site.release()
    ended = crawl.finish()

    assert ended.numbers == list(range(1, 13))
    assert_deaths(ended, 1)
    assert ended.stats["mpworkers/items/redelivered"] == 0


@worlds()
def test_item_of_a_busy_worker_killed_is_redelivered(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"))
    number, victim = crawl.wait_told("busy", 2)[0]

    os.kill(victim, signal.SIGKILL)
    crawl.wait_for(rf"@busy \[{number}, (?!{victim}\b)")
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert_deaths(ended, 1)
    assert ended.stats["mpworkers/items/redelivered"] >= 1
    assert ended.stats["mpworkers/items/done"] == 6


@worlds(plain=False)
def test_every_worker_killed_at_once_loses_no_item(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"))
    victims = {pid for _, pid in crawl.wait_told("busy", 2)}

    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    crawl.wait_told("busy", 4)
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.numbers == [1, 2, 3, 4, 5, 6]
    assert_deaths(ended, 2)


@worlds()
def test_item_that_kills_its_workers_is_given_up(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, "items=21", **offload("Poisoned"))
    ended = crawl.finish()

    [(number, error, text)] = ended.told("failed")
    assert (number, error) == (13, "WorkerDied")
    assert "SIGKILL" in text
    assert ended.numbers == [n for n in range(1, 22) if n != 13]
    assert ended.stats["mpworkers/items/done"] == 20
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert ended.stats["mpworkers/items/redelivered"] >= 2
    assert_deaths(ended, 3)


def assert_deaths(ended: Ended, count: int) -> None:
    assert ended.exit_code == 0
    assert ended.stats["mpworkers/workers/deaths"] == count
    assert ended.stats["mpworkers/workers/deaths/SIGKILL"] == count
    assert ended.stats["mpworkers/workers/started"] == 2 + count


@worlds()
def test_no_busy_worker_survives_the_crawls_process(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("pages", world, held=True, **offload("Gate"))
    crawl.wait_told("busy", 2)

    crawl.kill_main()
    ended = crawl.finish(grace=5)

    assert ended.exit_code == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can kill at the parent's death")
@worlds()
def test_no_worker_stuck_in_c_code_survives_the_crawls_process(
    launch: Launcher, world: World
) -> None:
    crawl = launch.crawl("pages", world, **offload("Stuck"))
    crawl.wait_told("busy", 2)

    crawl.kill_main()
    ended = crawl.finish(grace=5)

    assert ended.exit_code == -signal.SIGKILL


@worlds(plain=False)
def test_no_idle_worker_survives_the_crawls_process(
    launch: Launcher, site: Site, world: World
) -> None:
    world.needs_http()
    crawl = launch.crawl("pages", world, f"urls={site.url('held/page')}", **offload("Mark"))
    crawl.wait_told("opened", 2)

    crawl.kill_main()
    ended = crawl.finish(grace=5)

    assert ended.exit_code == -signal.SIGKILL
