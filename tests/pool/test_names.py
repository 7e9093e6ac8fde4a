"""What ``ps`` and ``top`` call workers and their fork server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .harness import METHODS
from .work import Environment

pytestmark = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="no /proc")

TITLES = {"worker": "scrapy-mpworkers: worker-1", "compute": "scrapy-mpworkers: worker-1 (compute)"}
SHORT = {"worker": "mpw-1", "compute": "mpw-1 compute", "a level of images": "mpw-1 a level o"}


def told(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_bytes().split(b"\0")[0].decode().strip()


@pytest.mark.parametrize("method", METHODS)
def test_worker_has_its_number_and_its_level_in_its_title(make_bench, method, monkeypatch):
    pytest.importorskip("setproctitle", reason="the extra 'names' is not installed")
    monkeypatch.setenv("SEEN", "still")
    bench = make_bench(method, workers=1, name="compute").start()
    (pid,) = bench.pids

    # Forked, it has no more room than this very command line.
    title = told(pid, "cmdline")
    assert title == TITLES["compute"] or (method == "fork" and TITLES["compute"].startswith(title))
    assert told(pid, "comm") == SHORT["compute"]
    if method != "fork":  # whose environ is what this process began with
        assert b"SEEN=still" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert bench.run(Environment("SPT_NOENV")) == [None]
    if method == "forkserver":
        assert told(bench.server.pid, "cmdline") == "scrapy-mpworkers: fork server"
        assert told(bench.server.pid, "comm") == "mpw fork server"


@pytest.mark.parametrize("name", SHORT)
def test_without_setproctitle_a_worker_has_a_short_name(make_bench, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    bench = make_bench("fork", workers=1, name=name).start()
    (pid,) = bench.pids

    assert told(pid, "comm") == SHORT[name]
    assert "scrapy-mpworkers: w" not in told(pid, "cmdline")
