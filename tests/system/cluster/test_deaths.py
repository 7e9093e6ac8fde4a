"""Workers die, hang, come and go; the scheduler dies. No item is lost, and nothing hangs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from system.crawls.harness import Crawl

from .cluster import TESTS, Cluster

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

MakeCluster = Callable[..., Cluster]
Start = Callable[..., Crawl]

RETIRE = """
import sys
from distributed import Client
with Client(sys.argv[1]) as client:
    client.retire_workers([list(client.nthreads())[0]])
"""


def numbers(count: int) -> list[int]:
    return list(range(1, count + 1))


def dead_letters(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_killed_worker_process_with_1000_items_in_flight_costs_none(
    crawl: Start, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        running = crawl(
            "Gated",
            ITEMS=1500,
            GATE=str(tmp_path / "gate"),
            MPWORKERS_MAX_PENDING=1000,
            MPWORKERS_DASK_ADDRESS=cluster.address,
        )
        running.wait_told("yielded", 999)
        # A worker that has opened but holds no item yet would leave nothing to deliver again.
        cluster.await_log("@held", 2)

        os.kill(cluster.worker_pids()[0], signal.SIGKILL)
        running.wait_for("is lost; its items go to others")
    ended = running.finish()

    assert ended.numbers == numbers(1500)
    assert ended.stats["mpworkers/items/done"] == ended.stats["mpworkers/items/submitted"] == 1500
    assert ended.stats["mpworkers/items/redelivered"] >= 1
    assert ended.stats["mpworkers/workers/deaths"] == 1


@pytest.mark.full
def test_keys_of_a_killed_worker_move_to_another_and_keep_their_order(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster()
    level = {"name": "keyed", "pipelines": {"system.cluster.work.Mark": 300}, "workers": 3}
    running = crawl(
        MPWORKERS_LEVELS=[{**level, "key": "system.cluster.work.site_of"}],
        ITEMS=400,
        SECONDS=0.01,
        MPWORKERS_DASK_ADDRESS=cluster.address,
    )
    running.wait_told("scraped", 30)

    os.kill(cluster.worker_pids()[0], signal.SIGKILL)
    ended = running.finish()

    assert ended.numbers == numbers(400)
    assert ended.stats["mpworkers/items/done"] == 400
    for site in range(8):
        came = [n for n in ended.told("scraped") if n % 8 == site]
        assert came == sorted(came)


@pytest.mark.full
def test_one_poison_item_among_500_is_one_dead_letter(
    crawl: Start, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    letters = tmp_path / "letters.jsonl"

    running = crawl(
        "Poisoned",
        ITEMS=501,
        POISON=250,
        MPWORKERS_DEAD_LETTERS=str(letters),
        MPWORKERS_DASK_ADDRESS=cluster.address,
    )
    ended = running.finish()

    assert ended.numbers == [n for n in numbers(501) if n != 250]
    assert ended.told("failed") == [[250, "WorkerDied"]]
    assert ended.stats["mpworkers/items/done"] == 500
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert len(dead_letters(letters)) == 1


def test_a_killed_scheduler_is_a_clear_error_and_dead_letters(
    crawl: Start, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    letters = tmp_path / "letters.jsonl"
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        running = crawl(
            "Gated",
            ITEMS=1000,
            GATE=str(tmp_path / "gate"),
            MPWORKERS_MAX_PENDING=200,
            MPWORKERS_DEAD_LETTERS=str(letters),
            MPWORKERS_DASK_ADDRESS=cluster.address,
        )
        running.wait_told("yielded", 199)

        cluster.scheduler.kill()
        ended = running.finish()

    assert "the worker pool is broken: there is no connection to the Dask cluster" in ended.log
    assert "'finish_reason': 'mpworkers_broken'" in ended.log
    lost = int(ended.stats["mpworkers/items/dead_lettered"])
    assert 200 <= lost == ended.stats["mpworkers/items/submitted"] == len(dead_letters(letters))


@pytest.mark.full
def test_a_killed_cluster_of_its_own_leaves_no_worker_behind(crawl: Start, tmp_path: Path) -> None:
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        running = crawl("Gated", ITEMS=50, GATE=str(tmp_path / "gate"), MPWORKERS_WORKERS=2)
        running.wait_told("yielded", 50)
        running.wait_told("opened", 2)

        [cluster] = [
            one
            for one in running.processes()
            if "scrapy_mpworkers.backends.dask.local_cluster" in one.cmdline()
        ]
        cluster.kill()
        ended = running.finish(grace=15)

    assert "there is no connection to the Dask cluster (a Dask cluster on this" in ended.log
    assert ended.stats["mpworkers/items/dead_lettered"] == 50
    assert "'finish_reason': 'mpworkers_broken'" in ended.log


@pytest.mark.full
def test_a_worker_that_retires_during_the_crawl_takes_no_item_along(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster()
    running = crawl("Mark", ITEMS=1000, SECONDS=0.01, MPWORKERS_DASK_ADDRESS=cluster.address)
    running.wait_told("scraped", 50)

    command = [sys.executable, "-c", RETIRE, cluster.address]
    subprocess.run(command, check=True, cwd=TESTS, timeout=60)
    running.wait_for("has left the cluster")
    ended = running.finish()

    assert ended.numbers == numbers(1000)
    assert ended.stats["mpworkers/items/done"] == 1000
    assert ended.stats["mpworkers/workers/deaths"] == 0


@pytest.mark.full
def test_workers_of_an_adaptive_cluster_come_and_go(crawl: Start, tmp_path: Path) -> None:
    adaptive = subprocess.Popen(
        [sys.executable, "-m", "system.cluster.adaptive"],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    try:
        assert adaptive.stdout is not None and adaptive.stdin is not None
        address = adaptive.stdout.readline().strip()

        ended = crawl("Mark", ITEMS=1500, SECONDS=0.01, MPWORKERS_DASK_ADDRESS=address).finish()

        assert ended.numbers == numbers(1500), ended.log[-5000:]
        assert ended.stats["mpworkers/items/done"] == 1500
        assert ended.stats["mpworkers/workers/started"] >= 2
    finally:
        adaptive.communicate("", timeout=30)


@pytest.mark.full
@pytest.mark.parametrize("way", ["Hangs", "HangsInC"])
def test_an_item_over_its_limit_is_a_dead_letter(
    crawl: Start, make_cluster: MakeCluster, way: str
) -> None:
    cluster = make_cluster()

    running = crawl(
        way,
        ITEMS=100,
        POISON=50,
        MPWORKERS_ITEM_TIMEOUT=1,
        MPWORKERS_DASK_ADDRESS=cluster.address,
    )
    running.deadline += 60
    ended = running.finish()

    assert ended.numbers == [n for n in numbers(100) if n != 50]
    assert ended.told("failed") == [[50, "ItemTimeout"]]
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert "Dask worker" not in ended.log


def test_a_limit_is_refused_where_nobody_would_start_the_worker_again(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(workers=0)
    cluster.add_worker("--no-nanny")
    cluster.await_workers(1)

    ended = crawl("Mark", MPWORKERS_ITEM_TIMEOUT=1, MPWORKERS_DASK_ADDRESS=cluster.address).finish()

    assert "MPWORKERS_ITEM_TIMEOUT kills the worker process" in ended.log
    assert "has no nanny" in ended.log
    assert not ended.told("yielded")
