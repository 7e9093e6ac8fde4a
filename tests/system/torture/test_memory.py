"""The kernel kills a worker because its memory has run out, really: in a cgroup of its own."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain import plain_first
from pool.harness import rotated
from pool.saboteurs import Grows
from pool.work import Square

from scrapy_mpworkers.errors import WorkerDied
from system.crawls.harness import Launcher, World

#: Where a memory cgroup is made and how its limit is called: cgroup v2, then v1.
HIERARCHIES = [
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
]


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    for root, limit in HIERARCHIES:
        group = root / f"mpworkers-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(200 << 20))
                with contextlib.suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
                yield group
                group.rmdir()
                return
            group.rmdir()
    pytest.skip("needs a memory cgroup, and the right to make one")


@rotated()
def test_kill_for_want_of_memory_is_named_as_such(make_bench, method, small_cgroup):
    bench = make_bench(method, workers=1, redeliver_times=0).start()
    (small_cgroup / "cgroup.procs").write_text(str(bench.pids[0]))

    (fat,) = bench.submit(Grows(400 << 20))
    bench.until_settled()

    error = bench.error(fat)
    assert isinstance(error, WorkerDied)
    assert "kernel, which was out of memory" in str(error)
    assert bench.metrics.deaths == {"SIGKILL": 1}
    assert bench.until_manned().run(Square(3)) == [9]


@pytest.mark.parametrize("at", plain_first([500, 0, 999]))
def test_results_of_a_callback_come_once_though_memory_runs_out_in_it(
    launch: Launcher, small_cgroup: Path, at: int
) -> None:
    crawl = launch.crawl(
        "counting",
        World("asyncio", "forkserver"),
        *("count=1000", f"at={at}", "deed=grow"),
        held=True,
    )
    [pid] = crawl.wait_told("grows")
    (small_cgroup / "cgroup.procs").write_text(str(pid))

    crawl.open_gate()
    ended = crawl.finish()

    assert ended.numbers == list(range(1000))
    assert ended.stats["mpworkers/workers/deaths/SIGKILL"] == 1
    assert "kernel, which was out of memory" in ended.log


@rotated()
def test_kill_by_anyone_else_is_not_called_so(make_bench, method):
    bench = make_bench(method, workers=1, redeliver_times=0).start()
    (held,) = bench.submit(bench.say_and_wait())
    (victim,) = bench.until_said("running")

    os.kill(victim, 9)
    bench.until_settled()

    assert "out of memory" not in str(bench.error(held)).replace("memory that ran out", "")
