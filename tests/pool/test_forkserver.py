"""Fork servers outlive their pool, and the next one that wants the same takes them over."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import multiprocessing.spawn
import os
import signal
import sys
import time
from typing import Any

import psutil
import pytest
from plain import plain_first
from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import Settings

from scrapy_mpworkers import Addon, WorkerExtension
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.pool.forkserver import ServerSpec, servers
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.wire.messages import WorkerConfig

from .consumers import Behaviour
from .harness import PRELOAD, await_end, children, comes_true
from .saboteurs import ExitsWithCode
from .work import Environment, Print, Square

CONFIG = WorkerConfig(0, (), None)


@pytest.fixture(autouse=True)
def leave_none(kept_by_multiprocessing):
    yield
    servers.close()
    assert comes_true(lambda: not children()), children()


def server_pids() -> list[int]:
    return [process.pid for process in children() if is_server(process)]


def is_server(process: psutil.Process) -> bool:
    try:
        return process.ppid() == os.getpid() and process.cmdline()[1:2] != ["-u"]
    except (psutil.ZombieProcess, psutil.NoSuchProcess):  # it has died since it was listed
        return False


def wanted(*modules: str, also: tuple[str, ...] = (), nice: int = 0) -> ServerSpec:
    return ServerSpec((), (*PRELOAD, *modules), also, CONFIG._replace(nice=nice))


def test_the_next_pool_has_the_server_of_the_last(make_bench):
    first = make_bench("forkserver").start()
    (server,) = server_pids()
    first.stop()
    assert server_pids() == [server]

    second = make_bench("forkserver").start()

    assert second.run(Square(3)) == [9]
    assert server_pids() == [server]
    second.stop()


@pytest.mark.full
def test_pools_at_the_same_time_have_a_server_each(make_bench):
    first, second = make_bench("forkserver").start(), make_bench("forkserver").start()

    assert len(server_pids()) == 2
    assert first.run(Square(2)) == second.run(Square(2)) == [4]


def test_a_server_that_lacks_modules_is_not_taken(make_bench):
    servers.prepare([wanted()])
    (old,) = server_pids()

    make_bench("forkserver", preload=[*PRELOAD, "wsgiref"]).start()

    assert len(server_pids()) == 2
    assert old in server_pids()


@pytest.mark.full
def test_a_server_that_has_more_is_as_good(make_bench):
    servers.prepare([wanted("wsgiref", also=("fractions",))])
    servers.prepare([wanted(also=("colorsys",))])

    make_bench("forkserver").start()

    assert len(server_pids()) == 1


def test_a_server_under_other_conditions_is_not_taken():
    servers.prepare([wanted()])
    servers.prepare([wanted(nice=3)])

    assert len(server_pids()) == 2


def test_workers_see_what_the_user_has_put_into_the_environment_meanwhile(make_bench, monkeypatch):
    make_bench("forkserver").start().stop()
    monkeypatch.setenv("SINCE_THE_LAST_CRAWL", "set")

    bench = make_bench("forkserver").start()

    assert bench.run(Environment("SINCE_THE_LAST_CRAWL")) == ["set"]


@pytest.mark.parametrize("dated", [10, -10])  # as an editor on another machine, as a backup
def test_workers_run_the_code_of_today(make_bench, monkeypatch, tmp_path, dated):
    module = tmp_path / "edited_meanwhile.py"
    module.write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("edited_meanwhile")
    make_bench("forkserver").start().stop()
    (old,) = server_pids()

    edit = time.time() + dated
    os.utime(module, (edit, edit))
    make_bench("forkserver").start()

    del sys.modules["edited_meanwhile"]
    assert server_pids() != [old]


def test_what_an_import_ignores_on_the_path_keeps_no_server_from_its_start(
    make_bench, monkeypatch, tmp_path
):
    monkeypatch.setattr(sys, "path", [tmp_path, *sys.path, b"bytes", None])
    bench = make_bench("forkserver").start()

    assert bench.run(Square(3)) == [9]


def test_a_source_file_with_a_date_in_the_future_costs_no_second_server(
    make_bench, monkeypatch, tmp_path
):
    module = tmp_path / "of_next_year.py"
    module.write_text("")
    next_year = time.time() + 365 * 86_400
    os.utime(module, (next_year, next_year))
    monkeypatch.syspath_prepend(str(tmp_path))
    servers.prepare([wanted()])
    importlib.import_module("of_next_year")

    servers.prepare([wanted()])
    make_bench("forkserver").start()

    del sys.modules["of_next_year"]
    assert len(server_pids()) == 1


def test_files_that_were_edited_while_the_clock_was_ahead_cost_no_second_server(monkeypatch):
    now = time.time() - 365 * 86_400
    monkeypatch.setattr("scrapy_mpworkers.pool.forkserver.time.time", lambda: now)

    servers.prepare([wanted()])
    servers.prepare([wanted()])

    assert len(server_pids()) == 1


@pytest.fixture
def frozen(monkeypatch):
    """This process looks like a frozen program, which must begin nothing by its own executable."""

    def started(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr("subprocess.Popen", started)


@pytest.mark.usefixtures("frozen")
def test_a_frozen_program_does_not_run_itself_as_its_fork_server():
    with pytest.raises(SettingError, match=r"'forkserver', .* is frozen.* = 'fork', or .* = 0 "):
        servers.prepare([wanted()])
    with pytest.raises(SettingError, match="MPWORKERS_START_METHOD = 'fork'"):
        Processes("forkserver", wanted()).take_server()


@pytest.mark.usefixtures("frozen")
def test_a_crawl_of_a_frozen_program_is_refused_in_one_sentence():
    crawler = crawler_with_addon()
    crawler.crawling = True

    with pytest.raises(SettingError, match="name an interpreter by multiprocessing.set_executable"):
        crawler.addons.load_settings(crawler.settings)


@pytest.mark.usefixtures("frozen")
def test_a_frozen_program_has_workers_by_fork(make_bench):
    bench = make_bench("fork").start()

    assert bench.run(Square(3)) == [9]
    bench.stop()


@pytest.mark.parametrize("is_frozen", [True, False])
def test_the_server_runs_in_the_interpreter_that_multiprocessing_was_told(
    make_bench, monkeypatch, tmp_path, is_frozen
):
    python = tmp_path / "another-python"
    python.write_text(f'#!/bin/sh\ntouch "$0.ran"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    told = multiprocessing.spawn.get_executable()
    monkeypatch.setattr(sys, "frozen", is_frozen, raising=False)

    multiprocessing.set_executable(str(python))
    try:
        bench = make_bench("forkserver").start()
        squares = bench.run(Square(3))
        bench.stop()
    finally:
        multiprocessing.set_executable(told)

    assert squares == [9]
    assert python.with_name("another-python.ran").exists()


def test_a_process_without_an_executable_is_told_what_works(monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: None)

    with pytest.raises(SettingError, match=r"no sys.executable to run: set MPWORKERS_START_METHOD"):
        servers.prepare([wanted()])


def test_workers_write_where_the_parent_does_now(make_bench, tmp_path):
    make_bench("forkserver").start().stop()
    kept = os.dup(2)
    with (tmp_path / "log").open("w") as log:
        os.dup2(log.fileno(), 2)
    try:
        bench = make_bench("forkserver").start()
        bench.run(Print("here"))
        bench.stop()
    finally:
        os.dup2(kept, 2)
        os.close(kept)

    assert (tmp_path / "log").read_text() == "here"


def test_forked_process_takes_no_server_of_its_parent(make_bench):
    make_bench("forkserver").start().stop()
    (kept,) = server_pids()

    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            processes = Processes("forkserver", wanted())
            processes.take_server()
            process = processes.start(int, (), "of the child")
            process.join()
            (own,) = server_pids()
            os._exit(41 if process.exitcode == 0 and own != kept else 1)
        os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 41
    make_bench("forkserver").start()
    assert server_pids() == [kept]


def test_servers_that_have_died_push_no_living_one_out():
    servers.prepare([wanted(nice=nice) for nice in range(4)])
    first, *others = server_pids()
    for server in others:
        os.kill(server, signal.SIGKILL)
    await_end(others)

    servers.prepare([wanted(nice=7)])

    assert first in server_pids()


def test_as_many_servers_are_kept_as_one_crawl_wants():
    servers.prepare([wanted(nice=nice) for nice in range(6)])

    assert len(server_pids()) == 6


def test_each_of_two_levels_gets_a_server_though_they_want_the_same():
    servers.prepare([wanted(), wanted()])
    servers.prepare([wanted(), wanted()])

    assert len(server_pids()) == 2


def test_a_kept_server_that_has_died_is_not_taken(make_bench):
    make_bench("forkserver").start().stop()
    (server,) = server_pids()
    os.kill(server, signal.SIGKILL)
    await_end([server])

    bench = make_bench("forkserver").start()

    assert bench.run(Square(4)) == [16]
    bench.stop()


@pytest.mark.full
def test_the_server_of_a_broken_pool_is_not_kept(make_bench):
    bench = make_bench(
        "forkserver", intensity=1, behaviour=lambda bench: Behaviour(open=ExitsWithCode(5))
    ).begin()
    bench.until(lambda: bool(bench.events.errors), "the pool is broken")

    bench.stop()

    assert server_pids() == []


@pytest.mark.parametrize("method", plain_first(["forkserver", "spawn"]))
def test_the_user_may_still_choose_a_start_method_for_processes_of_his_own(make_bench, method):
    multiprocessing.set_start_method(None, force=True)

    make_bench(method).start()

    assert multiprocessing.get_start_method(allow_none=True) is None


def test_few_are_kept():
    for nice in range(7):
        servers.prepare([wanted(nice=nice)])

    assert comes_true(lambda: len(server_pids()) == 4), server_pids()


class Offloaded:
    def process_item(self, item: Any) -> Any:
        return item


def crawler_with_addon() -> Crawler:
    settings = {"ADDONS": {Addon: 500}, "MPWORKERS_PIPELINES": {Offloaded: 300}}
    return Crawler(Spider, Settings(settings))


def test_the_addon_launches_the_one_server_of_the_crawl():
    crawler = crawler_with_addon()
    crawler.crawling = True  # as Crawler.crawl has it when it applies the settings

    crawler.addons.load_settings(crawler.settings)
    launched = server_pids()
    WorkerExtension.from_crawler(crawler)

    assert len(launched) == 1
    assert server_pids() == launched


def test_nothing_is_launched_for_a_look_at_the_settings():
    crawler = crawler_with_addon()

    crawler.addons.load_settings(crawler.settings)

    assert server_pids() == []
    assert crawler.settings["ITEM_PIPELINES"] == {"scrapy_mpworkers.pipelines.WorkerPipeline": 300}
