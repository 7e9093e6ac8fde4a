"""The page of real crawls: what it says of them, and that it holds none of them."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from plain import plain_first
from prometheus_client.parser import text_string_to_metric_families
from status.harness import Client, read_all

from .harness import PROJECT, World, offload, worlds

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Crawl, Launcher

GATED: dict[str, Any] = {"MPWORKERS_PAGE": True, **offload("Gate")}


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of job files, of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "scrapy-mpworkers"


def page_of(crawl: Crawl) -> Client:
    """The page that the log names."""
    line = crawl.wait_for("The workers' page is at ")
    return Client(line.split()[-1])


@worlds()
def test_a_page_shows_a_crawl_and_ends_with_it_though_clients_stay(
    launch: Launcher, world: World, jobs: Path
) -> None:
    crawl = launch.crawl("start", world, "items=5", held=True, **GATED)
    client = page_of(crawl)
    busy = {pid for _, pid in crawl.wait_told("busy", 2)}

    [snapshot] = client.get("/snapshot.json").json["crawls"]
    [history] = client.get("/history.json").json["crawls"]
    shell = client.get("/", {})
    metrics = text_string_to_metric_families(client.get("/metrics").body.decode())
    strange = client.get("/snapshot.json", {**client.right, "Host": "evil.example"})
    [job] = jobs.iterdir()
    with client.connected() as idle, client.connected() as halfway:
        halfway.sendall(b"GET / HTTP/1.1\r\nHost:")
        crawl.open_gate()
        ended = crawl.finish()

        assert read_all(idle) == read_all(halfway) == b""
    [level] = snapshot["levels"]
    assert (snapshot["spider"], snapshot["pid"]) == ("start", crawl.pid)
    assert {one["pid"] for one in level["workers"] if one["state"] == "busy"} == busy
    assert [one["task"]["label"] for one in level["workers"]] != []
    assert level["items"]["submitted"] == 5
    assert history.keys() >= {"times", "lag", "workers"}
    [submitted] = [one for one in metrics if one.name == "mpworkers_items_submitted"]
    assert submitted.samples[0].value == 5
    assert (shell.status, strange.status) == (200, 421)
    assert job.name == f"{crawl.pid}-{client.port}.json"
    assert not job.exists()
    assert ended.numbers == [1, 2, 3, 4, 5]
    assert ended.exit_code == 0
    assert "Traceback" not in ended.log
    assert "ResourceWarning" not in ended.log
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


@worlds()
def test_top_and_stacks_find_a_crawl_that_runs(launch: Launcher, world: World) -> None:
    crawl = launch.crawl("start", world, "items=5", held=True, **GATED)
    page_of(crawl)
    crawl.wait_told("busy", 2)

    top = launch.scrapy("mpworkers", "top", "--once", world=world).finish()
    stacks = launch.scrapy("mpworkers", "stacks", world=world).finish()

    crawl.open_gate()
    crawl.finish()
    assert top.exit_code == stacks.exit_code == 0
    # Python 3.10 does not know the class.
    assert len(re.findall(r"in (Gate\.)?process_item$", stacks.out, re.MULTILINE)) == 2
    assert top.out.startswith("start  running  ")
    assert re.search(r"^worker-1 +\d+ +busy +", top.out, re.MULTILINE)


def test_a_killed_crawl_leaves_a_file_that_top_removes(launch: Launcher, jobs: Path) -> None:
    world = World("asyncio", "forkserver")
    crawl = launch.crawl("start", world, "items=5", held=True, **GATED)
    page_of(crawl)
    crawl.send(signal.SIGKILL)
    crawl.finish()
    assert len(list(jobs.iterdir())) == 1

    top = launch.scrapy("mpworkers", "top", "--once", world=world).finish()

    assert "no crawl with MPWORKERS_PAGE is running" in top.log
    assert list(jobs.iterdir()) == []


@pytest.mark.parametrize("mode", plain_first(["default", "asyncio", "none"]))
def test_two_crawls_of_a_process_share_a_page(
    launch: Launcher, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}:{os.environ.get('PYTHONPATH', '')}")
    crawl = launch.script("two_spiders.py", world=World(mode, "fork"), held=True, **GATED)
    client = page_of(crawl)
    crawl.wait_told("opened", 3)  # by two workers for one crawl, and by one for the other

    crawls = client.get("/snapshot.json").json["crawls"]

    crawl.open_gate()
    ended = crawl.finish()
    assert [one["spider"] for one in crawls] == ["first", "second"]
    assert ended.log.count("The workers' page is at") == 1
    assert ended.exit_code == 0
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


@pytest.mark.parametrize("mode", plain_first(["default", "asyncio", "none"]))
def test_forked_workers_do_not_have_the_port(launch: Launcher, mode: str) -> None:
    crawl = launch.crawl("start", World(mode, "fork"), "items=5", held=True, **GATED)
    client = page_of(crawl)
    busy = [pid for _, pid in crawl.wait_told("busy", 2)]

    listening = [
        pid
        for pid in (crawl.pid, *busy)
        for one in psutil.Process(pid).net_connections()
        if one.laddr.port == client.port
    ]

    crawl.open_gate()
    crawl.finish()
    assert listening == [crawl.pid]


def test_a_crawl_whose_workers_cannot_start_leaves_no_page(launch: Launcher, jobs: Path) -> None:
    settings = {"MPWORKERS_PAGE": True, **offload("RaisesInOpen")}

    ended = launch.crawl("start", World("none", "fork"), **settings).finish()

    assert "The workers' page is at" in ended.log
    assert list(jobs.iterdir()) == []
