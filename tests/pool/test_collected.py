"""Workers of whose end somebody else hears first, or of which the usual way does not tell."""

from __future__ import annotations

import errno
import os
import signal
import subprocess

import psutil
import pytest

from scrapy_mpworkers.errors import WorkerDied
from scrapy_mpworkers.pool import report_listener

from .harness import comes_true, quick, rotated
from .saboteurs import KillsItself, dies_beside_its_child
from .work import Square

WAYS = [
    pytest.param("ignored", "fork"),
    pytest.param("reaper", "fork"),
    pytest.param("ignored", "spawn", marks=pytest.mark.full),
    pytest.param("reaper", "spawn", marks=pytest.mark.full),
    pytest.param("ignored", "forkserver", marks=pytest.mark.full),
    pytest.param("reaper", "forkserver", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("way", "method"), WAYS)
def test_worker_that_somebody_else_collects_is_missed(request, make_bench, way, method, caplog):
    request.getfixturevalue(way)
    bench = make_bench(method, redeliver_times=1).start()

    (poisonous,) = bench.submit(KillsItself())
    fine = bench.submit(*(Square(n) for n in range(30)))
    bench.until_settled()
    bench.until_manned()

    error = bench.error(poisonous)
    assert isinstance(error, WorkerDied)
    assert [bench.result(n) for n in fine] == [n**2 for n in range(30)]
    deaths = bench.metrics.deaths
    assert sum(deaths.values()) == 2
    assert method == "forkserver" or way == "reaper" or set(deaths) == {"unknown"}
    said = [r.getMessage() for r in caplog.records if "go to somebody else" in r.getMessage()]
    assert len(said) == ("unknown" in deaths)
    bench.stop().assert_books()


@pytest.mark.parametrize("refusal", [errno.EPERM, None])
@quick("fork", "spawn")
def test_worker_is_missed_where_the_system_has_no_handle_for_processes(
    make_bench, monkeypatch, method, refusal
):
    refuse_handles(monkeypatch, refusal)
    monkeypatch.setattr(report_listener, "_LOOK_AGAIN", 0.1)
    bench = make_bench(method, redeliver_times=0).start()

    assert isinstance(dies_beside_its_child(bench), WorkerDied)
    assert bench.until_manned().run(Square(3)) == [9]
    bench.stop().assert_books()


def refuse_handles(monkeypatch, refusal):
    """As a kernel before 5.3 does (ENOSYS), an old container profile (EPERM), another system."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(refusal, os.strerror(refusal))

    if refusal is None:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


@pytest.mark.full
@rotated()
def test_without_handles_and_without_exit_codes_a_worker_is_missed_all_the_same(
    ignored, make_bench, monkeypatch, method
):
    refuse_handles(monkeypatch, errno.EPERM)
    bench = make_bench(method, redeliver_times=0).start()

    (poisonous,) = bench.submit(KillsItself())
    bench.until_settled()

    assert isinstance(bench.error(poisonous), WorkerDied)
    bench.until_manned().stop().assert_books()


@pytest.mark.parametrize("method", ["fork"])
def test_process_that_has_got_the_number_of_a_collected_worker_is_not_killed(
    reaper, make_bench, method
):
    bench = make_bench(method, workers=1).start()
    (handle,) = bench.handles
    os.kill(handle.pid, signal.SIGKILL)
    assert comes_true(lambda: handle.pid in reaper.collected)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)

    handle.pid = stranger.pid  # as the kernel may give it to the next process
    handle.kill()
    bench.until(lambda: sum(bench.metrics.deaths.values()) == 1, "the death is known")

    assert psutil.Process(stranger.pid).status() != psutil.STATUS_ZOMBIE
    stranger.kill()
    assert comes_true(lambda: stranger.pid in reaper.collected)
    stranger.wait()
    bench.until_manned().stop()


@quick("fork", "spawn")
def test_worker_whose_exit_code_nobody_tells_is_missed_soon(make_bench, monkeypatch, method):
    # As under gevent, whose own loop would have to run first.
    monkeypatch.setattr(report_listener, "_CODE_SECONDS", 0.2)
    bench = make_bench(method, redeliver_times=0).start()
    monkeypatch.setattr("posix.waitpid", lambda pid, flag: (0, 0))

    (poisonous,) = bench.submit(KillsItself())
    bench.until_settled()

    assert bench.error(poisonous).exitcode is None
    bench.until_manned()
    monkeypatch.undo()
    bench.stop().assert_books()
