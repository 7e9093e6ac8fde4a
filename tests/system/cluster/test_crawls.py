"""Crawls whose workers are in a Dask cluster."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain import plain_first
from projects import make_project

from system.crawls.harness import MODES, Crawl, Ended, Launcher

from .cluster import TESTS, Cluster
from .conftest import Mode

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

MakeCluster = Callable[..., Cluster]
Start = Callable[..., Crawl]

DASK: Any = Mode("asyncio")

PREFIXES = """
import sys
from distributed import Client
with Client(sys.argv[1]) as client:
    names = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
print(*sorted(names))
"""


def numbers(count: int) -> list[int]:
    return list(range(1, count + 1))


def scheduler_address(cluster: Cluster) -> dict[str, str]:
    return {"MPWORKERS_DASK_ADDRESS": cluster.address}


@pytest.mark.parametrize("mode", plain_first(MODES))
def test_a_crawl_without_an_address_has_a_cluster_of_its_own(crawl: Start, mode: str) -> None:
    ended = crawl("Mark", mode=mode, MPWORKERS_WORKERS=2, ITEMS=200, SECONDS=0.02).finish()

    assert ended.numbers == numbers(200)
    assert len({item["pid"] for item in ended.items}) == 2
    assert ended.stats["mpworkers/workers/deaths"] == 0
    assert len(ended.told("closed")) == 2
    assert ended.exit_code == 0


@pytest.mark.full
def test_a_script_is_not_run_again_and_its_classes_cross_by_value(crawl: Start) -> None:
    ended = crawl(DOUBLES=True, MPWORKERS_WORKERS=2, ITEMS=20).finish()

    assert [item["doubled"] for item in sorted(ended.items, key=lambda item: item["n"])] == [
        2 * n for n in numbers(20)
    ]
    assert ended.log.count("Connecting to") == 1


@pytest.mark.full
def test_tasks_on_the_dashboard_are_named_by_their_hop(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster()

    ended = crawl("Mark", "Logs", ITEMS=20, **scheduler_address(cluster)).finish()

    command = [sys.executable, "-c", PREFIXES, cluster.address]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=TESTS)
    assert ended.numbers == numbers(20)
    assert "Mark+Logs" in found.stdout.split()


@pytest.mark.full
def test_the_address_may_be_in_a_scheduler_file(crawl: Start, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(workers=1)

    ended = crawl("Mark", MPWORKERS_DASK_ADDRESS=str(cluster.scheduler_file), ITEMS=20).finish()

    assert ended.numbers == numbers(20)


@pytest.mark.full
def test_records_are_the_crawls_and_the_clusters_log_stays_as_it_is(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(workers=1)

    ended = crawl("Logs", ITEMS=20, **scheduler_address(cluster)).finish()

    assert ended.log.count("[system.cluster.work] INFO: Here is item") == 20
    assert "Here is item" not in cluster.log_text()
    assert "nobody wants this" not in ended.log + cluster.log_text()
    assert ended.stats["log_count/INFO"] >= 20
    # Of Dask's own, after the crawl as before.
    assert cluster.log_text().count("Register worker") == 1
    cluster.await_log("Remove client")


@pytest.mark.full
def test_one_thread_of_a_process_works_at_a_time_whatever_threads_it_has(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(workers=0)
    cluster.add_worker("--nthreads", "4")
    cluster.await_workers(1)
    levels = [
        {"name": "one", "pipelines": {"system.cluster.work.Counts": 300}},
        {"name": "two", "pipelines": {"system.cluster.work.CountsToo": 400}, "wait": False},
    ]

    ended = crawl(
        MPWORKERS_LEVELS=levels, ITEMS=100, SECONDS=0.002, **scheduler_address(cluster)
    ).finish()

    assert ended.numbers == numbers(100)
    assert {item["at_once"] for item in ended.items} == {1}
    assert ended.stats["mpworkers/two/items/done"] == 100


@pytest.mark.full
def test_a_level_of_one_worker_has_one_in_a_cluster_of_two(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster()
    levels = [{"name": "store", "pipelines": {"system.cluster.work.Mark": 300}, "workers": 1}]

    ended = crawl(MPWORKERS_LEVELS=levels, ITEMS=50, **scheduler_address(cluster)).finish()

    assert ended.numbers == numbers(50)
    assert len({item["pid"] for item in ended.items}) == 1


@pytest.mark.full
def test_a_package_is_uploaded(
    crawl: Start, make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "only_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pipes.py").write_text(
        "class Uploaded:\n"
        "    def process_item(self, item):\n"
        "        return {**item, 'file': __file__}\n"
    )
    cluster = make_cluster(workers=1)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    ended = crawl(
        MPWORKERS_PIPELINES={"only_here.pipes.Uploaded": 300},
        MPWORKERS_DASK_UPLOAD=[str(package)],
        ITEMS=5,
        **scheduler_address(cluster),
    ).finish()

    assert ended.numbers == numbers(5), ended.log

    assert all("scrapy-mpworkers-upload-" in item["file"] for item in ended.items)


@pytest.mark.full
def test_a_pipeline_that_cannot_be_opened_ends_the_crawl_with_its_error(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(workers=1)

    ended = crawl("CannotOpen", **scheduler_address(cluster)).finish()

    assert ended.items == []
    assert "ValueError: no database" in ended.log
    assert not ended.told("yielded")


@pytest.mark.full
def test_no_scheduler_is_a_clear_error(crawl: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")

    ended = crawl("Mark", MPWORKERS_DASK_ADDRESS="tcp://127.0.0.1:9").finish()

    assert not ended.told("yielded")
    assert "there is no connection to the Dask cluster (tcp://127.0.0.1:9: OSError" in ended.log


@pytest.mark.full
def test_consumers_are_closed_when_scrapy_is_killed(
    crawl: Start, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        running = crawl("Gated", GATE=str(tmp_path / "gate"), **scheduler_address(cluster))
        running.wait_told("yielded", 20)
        cluster.await_log("@opened", 2)

        running.kill_main()

    cluster.await_log("@closed", 2)


@pytest.mark.full
def test_a_worker_that_comes_during_the_crawl_works_for_it(
    crawl: Start, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(workers=1)
    running = crawl("Mark", ITEMS=1500, SECONDS=0.01, **scheduler_address(cluster))
    running.wait_told("scraped", 20)

    cluster.add_worker()
    ended = running.finish()

    assert ended.numbers == numbers(1500)
    assert len({item["pid"] for item in ended.items}) == 2
    assert_nothing_lost(ended, 1500)


@pytest.mark.full
@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT twice"])
def test_a_cluster_of_its_own_ends_with_scrapy(crawl: Start, tmp_path: Path, end: str) -> None:
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        running = crawl("Gated", GATE=str(tmp_path / "gate"), MPWORKERS_WORKERS=2)
        running.wait_told("yielded", 20)
        running.wait_told("opened", 2)

        if end == "SIGKILL":
            running.kill_main()
        else:
            running.signal_group(signal.SIGINT)
            running.wait_for("Received SIGINT, shutting down gracefully")
            running.signal_group(signal.SIGINT)
        running.finish(grace=15)


@pytest.mark.full
def test_items_of_30_mb_cross(crawl: Start, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(workers=1)

    ended = crawl("Measures", ITEMS=3, MEGABYTES=30, **scheduler_address(cluster)).finish()

    assert [item["length"] for item in ended.items] == [30 << 20] * 3
    assert "UserWarning" not in ended.log


@pytest.mark.full
def test_functions_are_called_on_the_cluster(crawl: Start, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(workers=1)

    ended = crawl("Mark", ITEMS=1, CALLS=True, **scheduler_address(cluster)).finish()

    assert ended.told("called") == [[6, "CallTimeout"]]
    assert ended.told("stacks") == [{"worker-1": "idle"}]
    assert ended.stats["mpworkers/calls/done"] == 1
    assert ended.stats["mpworkers/calls/dead_lettered"] == 1
    assert ended.numbers == [1]


def assert_nothing_lost(ended: Ended, count: int) -> None:
    assert ended.stats["mpworkers/items/submitted"] == count
    assert ended.stats["mpworkers/items/done"] == count
    assert not re.search("Traceback", ended.log), ended.log


PRELUDE = {
    "+shop/settings.py": """
        import decimal
        decimal.setcontext(decimal.Context(prec=5))
        MPWORKERS_BACKEND = "dask"
        MPWORKERS_INITIALIZER = "shop.begin.begin"
        MPWORKERS_PIPELINES = {}
        MPWORKERS_LEVELS = [
            {"name": "one", "pipelines": {"shop.pipelines.Price": 1}},
            {"name": "two", "pipelines": {"shop.pipelines.Also": 2}},
        ]
    """,
    "shop/begin.py": """
        import os, sys

        def begin():
            assert "shop.settings" in sys.modules and "shop.pipelines" not in sys.modules
            if os.environ.get("NO_LICENCE"):
                raise ValueError("no licence")
            os.write(2, f"@begun [{os.getpid()}]\\n".encode())
    """,
    "shop/pipelines.py": """
        import decimal, os

        class Price:
            def process_item(self, item):
                third = str(decimal.Decimal(1) / 3)
                return item | {"pid": os.getpid(), "third": third, type(self).__name__: 1}

        class Also(Price):
            pass
    """,
}


@pytest.mark.full
def test_settings_and_initializer_run_once_in_each_worker_process(
    launch: Launcher, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project", PRELUDE)

    ended = launch.scrapy("crawl", "things", cwd=project, world=DASK).finish(10)

    assert ended.numbers == list(range(8)), ended.log
    assert {item["third"] for item in ended.items} == {"0.33333"}
    begun = ended.told("begun")
    assert len(begun) == len(set(begun)) == 4  # two workers for each level
    assert {item["pid"] for item in ended.items} <= set(begun)


@pytest.mark.full
def test_an_initializer_that_fails_ends_the_crawl(
    launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_LICENCE", "1")
    project = make_project(tmp_path / "project", PRELUDE)

    ended = launch.scrapy("crawl", "things", cwd=project, world=DASK).finish(10)

    assert "MPWORKERS_INITIALIZER = 'shop.begin.begin' raised ValueError: no licence" in ended.log
    assert ended.items == []
