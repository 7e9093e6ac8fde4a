"""Who is to blame for a death: whatever was begun, until its outcome is with the parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest

from scrapy_mpworkers.errors import WorkerDied
from scrapy_mpworkers.pool import timeouts

from .harness import (
    METHODS,
    Bench,
    children,
    comes_true,
    is_alive,
    rotated,
)
from .vandals import (
    ENDLESS_REPORT,
    AllowsNoFiles,
    ClosesAllFiles,
    ClosesOrders,
    ClosesReports,
    ClosesReportsAndIsSlow,
    Counted,
    EndsThreads,
    ExitsSoon,
    PutsFileInPlaceOfAll,
    ReturnsTwice,
    SendsReportsNowhere,
    WritesIntoReports,
)
from .work import Square

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

#: What a task does, and whether its worker may end before the outcome is in the outbox: then the
#: task runs again, and may be given up.
VANDALS = {
    "closes all files": (ClosesAllFiles(), True),
    "closes the pipe for reports": (ClosesReports(), True),
    "closes it before a slow one": (ClosesReportsAndIsSlow(), True),
    "replaces it": (SendsReportsNowhere(), True),
    "writes text into it": (WritesIntoReports(b"a line of a log\n"), True),
    "begins a report in it": (WritesIntoReports(ENDLESS_REPORT), True),
    "writes one byte into it": (WritesIntoReports(b"\0"), True),
    "closes the pipe for orders": (ClosesOrders(), False),
    "allows no files": (AllowsNoFiles(), False),
    "ends our threads": (EndsThreads(), False),
}

#: Those that differ in a detail from another one.
FULL_VANDALS = {
    "closes it before a slow one",
    "replaces it",
    "begins a report in it",
    "writes one byte into it",
}


def vandals_and_methods() -> Iterator[ParameterSet]:
    """Each vandal by each method; in the plain run each kind once, the methods in turn."""
    for n, vandal in enumerate(VANDALS):
        for m, method in enumerate(METHODS):
            is_plain = n % len(METHODS) == m and vandal not in FULL_VANDALS
            yield pytest.param(vandal, method, marks=() if is_plain else pytest.mark.full)


def run_among_others(bench: Bench, deed: object) -> tuple[int, list[int]]:
    """Its id, and those of quick tasks with which it shares a message."""
    bench.run(*(Square(n) for n in range(50)))  # so that messages carry many
    before = bench.submit(*(Square(n) for n in range(60)))
    (guilty,) = bench.submit(deed)
    after = bench.submit(*(Square(n) for n in range(60)))
    bench.until_settled()
    return guilty, before + after


def forked_by(workers: list[int]) -> list[psutil.Process]:
    return [p for p in children() if p.ppid() in workers and is_alive(p.pid)]


@pytest.mark.parametrize(("vandal", "method"), list(vandals_and_methods()))
def test_task_that_breaks_its_worker_runs_three_times_at_most_and_costs_no_other(
    make_bench, method, vandal, tmp_path, monkeypatch
):
    monkeypatch.setattr(timeouts, "STUCK_SECONDS", 0.6)
    deed, may_run_again = VANDALS[vandal]
    runs = tmp_path / "runs"
    bench = make_bench(method, redeliver_times=2, intensity=3).start()

    guilty, others = run_among_others(bench, Counted(str(runs), deed))

    assert [bench.result(n) for n in others] == 2 * [n**2 for n in range(60)]
    assert runs.stat().st_size in ((1, 2, 3) if may_run_again else (1,))
    if isinstance(bench.result(guilty), Exception):
        assert may_run_again
        assert isinstance(bench.error(guilty), WorkerDied)
        assert bench.error(guilty).deaths == runs.stat().st_size == 3
    assert bench.events.errors == []
    bench.until_manned().stop().assert_books()


@rotated()
def test_reports_are_not_written_into_a_file_that_has_taken_the_place_of_the_pipe(
    make_bench, method, tmp_path
):
    file = tmp_path / "of_the_user"
    bench = make_bench(method, redeliver_times=0).start()

    bench.submit(PutsFileInPlaceOfAll(str(file)))
    bench.until_settled()

    assert file.read_bytes() == b""
    bench.until_manned().stop().assert_books()


@rotated()
def test_worker_that_ends_soon_after_a_task_costs_no_task(make_bench, method, tmp_path):
    bench = make_bench(method, redeliver_times=2).start()
    deeds = [Counted(str(tmp_path / f"runs {n}"), ExitsSoon(0.002)) for n in range(5)]
    bench.run(*(Square(n) for n in range(50)))

    ids = bench.submit(*(task for deed in deeds for task in (*map(Square, range(20)), deed)))
    bench.until_settled()

    # Of the deeds themselves, one may be given up: on a busy machine its time is over as it runs.
    deed_ids = ids[20::21]
    assert not [n for n in {*ids} - {*deed_ids} if isinstance(bench.result(n), Exception)]
    assert max(path.stat().st_size for path in tmp_path.glob("runs *")) <= 3
    bench.stop().assert_books()


@rotated()
def test_process_that_a_task_has_forked_does_not_work_on_as_a_second_worker(
    make_bench, method, tmp_path
):
    runs = tmp_path / "runs"
    bench = make_bench(method, workers=1).start()
    bench.run(*(Square(n) for n in range(50)))

    counted = Counted(str(runs), Square(2))
    ids = bench.submit(*[counted] * 20, ReturnsTwice(), *[counted] * 20)
    bench.until_settled()
    bench.run(Square(3))

    assert comes_true(lambda: not forked_by(bench.pids))
    assert [bench.result(n) for n in ids] == [4] * 20 + [None] + [4] * 20
    assert runs.stat().st_size == 40
    bench.stop().assert_books()


@rotated()
def test_crawl_that_shares_the_workers_of_a_vandal_is_not_broken(make_bench, method, tmp_path):
    vandal = make_bench(method, redeliver_times=2).start()
    neighbour = make_bench(method, beside=vandal, redeliver_times=2).join()

    guilty = vandal.submit(*[Counted(str(tmp_path / "runs"), ClosesReports())] * 4)
    ids = neighbour.submit(*(Square(n) for n in range(200)))
    vandal.until_settled()
    neighbour.until_settled()

    lost = [n for n in guilty if isinstance(vandal.result(n), Exception)]
    assert all(vandal.error(n).deaths == 3 for n in lost)
    assert (tmp_path / "runs").stat().st_size <= 12
    assert [neighbour.result(n) for n in ids] == [n**2 for n in range(200)]
    assert vandal.events.errors == neighbour.events.errors == []
    vandal.stop()
    neighbour.stop()
