"""A worker that is to be killed, as its time is up, says first where it is."""

from __future__ import annotations

import os
import pickle
import signal
from time import monotonic

import pytest
from plain import plain_first

from scrapy_mpworkers.errors import ItemTimeout
from scrapy_mpworkers.pool import stacks, timeouts

from .consumers import Behaviour
from .harness import METHODS, quick, rotated
from .saboteurs import (
    Awaits,
    Compresses,
    Deadlocks,
    Grows,
    Handles,
    LoopsInC,
    LoopsInPython,
    Sleeps,
    Sums,
    WaitsForASignal,
)
from .vandals import ClosesAllFiles, PutsFileInPlaceOfAll
from .work import InTurn, Square

ANSWERED = {"await": Awaits, "Python loop": LoopsInPython, "zlib": Compresses}
SIGNALLED = {"regular expression": LoopsInC, "sum": Sums, "lock": Deadlocks}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may keep a worker from its last words for longer."""
    monkeypatch.setattr(stacks, "LAST_SECONDS", 2.0)


def error_of(bench, deed) -> ItemTimeout:
    bench.run(Grows(0))  # so that what it is of has been imported
    (late,) = bench.submit(deed)
    bench.until_settled([late])
    error = bench.error(late)
    assert isinstance(error, ItemTimeout)
    return error


@pytest.mark.parametrize(
    "hang", plain_first(["await", "sum", "lock", "Python loop", "zlib", "regular expression"], 3)
)
@pytest.mark.parametrize("method", [METHODS[0]])
def test_error_of_an_item_over_its_time_says_where_it_was(make_bench, method, hang):
    bench = make_bench(method, workers=1, item_timeout=1.0).start()

    error = error_of(bench, {**ANSWERED, **SIGNALLED}[hang](bench.voice.path))

    places = [line for line in error.stack.splitlines() if "/tests/pool/saboteurs.py" in line]
    assert places[-1].endswith("deeper" if hang == "await" else "__call__")
    assert "scrapy_mpworkers/worker" not in error.stack
    assert error.stack in str(pickle.loads(pickle.dumps(error)))
    assert bench.run(Square(3)) == [9]


@quick("fork", "spawn", "forkserver")
def test_the_signal_is_understood_by_each_start_method(make_bench, method):
    bench = make_bench(method, workers=1, item_timeout=1.0).start()

    assert "saboteurs.py" in error_of(bench, Deadlocks(bench.voice.path)).stack


@rotated()
def test_worker_has_no_longer_than_its_last_seconds(make_bench, method, monkeypatch):
    monkeypatch.setattr(stacks, "LAST_SECONDS", 0.2)
    bench = make_bench(method, workers=1, item_timeout=0.3).start()
    (late,) = bench.submit(Sleeps(bench.voice.path))
    (pid,) = bench.until_said("running")
    os.kill(pid, signal.SIGSTOP)
    begun = monotonic()
    bench.until_settled([late])

    assert monotonic() - begun < 1.5
    assert "the process is stopped" in bench.error(late).stack


@pytest.mark.parametrize("vandal", ["closes", "replaces"])
@rotated()
def test_signal_writes_into_no_file_of_the_users(make_bench, method, vandal, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("mine")
    deed = ClosesAllFiles() if vandal == "closes" else PutsFileInPlaceOfAll(str(theirs))
    bench = make_bench(method, workers=1, item_timeout=1.0).start()

    error = error_of(bench, InTurn((deed, LoopsInC(bench.voice.path))))

    assert "the process has no file for it" in error.stack
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("ignores", [True, False])
@rotated()
def test_handler_of_the_users_is_theirs(make_bench, method, ignores, monkeypatch):
    if not ignores:  # what it waits for never comes
        monkeypatch.setattr(stacks, "LAST_SECONDS", 0.5)
    bench = make_bench(method, workers=1, item_timeout=1.0).start()

    error = error_of(bench, InTurn((Handles(ignores), LoopsInC(bench.voice.path))))

    why = "no handler of SIGURG" if ignores else "did not write it in time"
    assert why in error.stack


@rotated()
def test_item_that_ends_meanwhile_keeps_its_outcome_and_its_worker(make_bench, method):
    bench = make_bench(method, workers=1, item_timeout=1.0).start()
    (pid,) = bench.pids

    assert bench.run(WaitsForASignal(bench.voice.path)) == ["done"]
    assert bench.run(Square(3)) == [9]
    assert bench.pids == [pid]

    assert "__call__" in error_of(bench, LoopsInC(bench.voice.path)).stack
    assert bench.metrics.deaths == {"SIGKILL": 1}
    bench.stop().assert_books()


@rotated()
def test_a_timeout_is_told_by_its_error_alone(make_bench, method, caplog):
    bench = make_bench(method, workers=1, item_timeout=1.0).start()
    caplog.clear()
    caplog.set_level("DEBUG")

    error_of(bench, Sleeps(bench.voice.path))
    bench.until_manned()

    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "started, pid" not in text] == []


@rotated()
def test_worker_that_hangs_while_it_opens_says_where(make_bench, method, monkeypatch, caplog):
    monkeypatch.setattr(timeouts, "BOOT_SECONDS", 1.0)
    bench = make_bench(
        method,
        workers=1,
        intensity=0,
        behaviour=lambda bench: Behaviour(open=Sleeps(bench.voice.path)),
    ).begin()

    bench.until(lambda: bool(bench.events.errors), "the pool is broken")

    [text] = [r.getMessage() for r in caplog.records if "was not ready after" in r.getMessage()]
    assert "saboteurs.py" in text
    assert not any("replacing it" in record.getMessage() for record in caplog.records)


@rotated()
def test_worker_that_does_not_end_says_where_it_is(make_bench, method, caplog):
    bench = make_bench(method, workers=1).start()
    bench.submit(LoopsInPython(bench.voice.path))
    bench.until_said("running")

    bench.stop(timeout=0.2)

    [text] = [r.getMessage() for r in caplog.records if "did not end in time" in r.getMessage()]
    assert "saboteurs.py" in text
