"""A worker that lives is asked where it is, and a thread of it answers."""

from __future__ import annotations

import os
import signal
from time import monotonic

import pytest
from plain import plain_first

from .harness import METHODS, is_alive, is_stopped, open_fds, rotated
from .saboteurs import Awaits, HoldsTheInterpreter, LoopsInPython, Sleeps
from .vandals import ClosesAllFiles, PutsFileInPlaceOfAll
from .work import InTurn, Square

BUSY = {"Python loop": LoopsInPython, "await": Awaits, "sleep": Sleeps}


@pytest.mark.parametrize("busy", BUSY)
@rotated()
def test_worker_tells_where_it_is_and_goes_on(make_bench, method, busy):
    bench = make_bench(method, workers=2).start()
    bench.submit(BUSY[busy](bench.voice.path))
    (pid,) = bench.until_said("running")
    (name,) = [handle.name for handle in bench.handles if handle.pid == pid]

    last = "deeper" if busy == "await" else "__call__"
    bench.until(lambda: last in bench.stacks()[name], "it is where it stays")

    for _ in range(3):
        stacks = bench.stacks()

        assert set(stacks) == {"worker-1", "worker-2"}
        assert "saboteurs.py" in stacks[name]
        assert f"in {last}" in stacks[name] or f"{BUSY[busy].__name__}.{last}" in stacks[name]
        assert "scrapy_mpworkers" not in stacks[name]
        assert "saboteurs.py" not in stacks[min({"worker-1", "worker-2"} - {name})]
    bench.until(lambda: "idle" in bench.stacks().values(), "the other one has nothing to do")
    assert pid in bench.pids
    assert bench.run(Square(3)) == [9]  # in the other one


@rotated()
def test_worker_that_cannot_answer_is_silent_and_lives(make_bench, method):
    bench = make_bench(method, workers=2).start()
    bench.submit(HoldsTheInterpreter(bench.voice.path))
    (pid,) = bench.until_said("holding")
    (name,) = [handle.name for handle in bench.handles if handle.pid == pid]

    # It has said so a moment before it does.
    bench.until(lambda: "no answer" in bench.stacks(0.3)[name], "it is silent")
    before = monotonic()
    both = [bench.stacks(0.3) for _ in range(2)]

    assert monotonic() - before < 3
    assert all("no answer within 0.3 s" in stacks[name] for stacks in both)
    assert pid in bench.pids


@pytest.mark.parametrize("how", plain_first(["stopped", "dead"]))
@rotated()
def test_worker_that_is_stopped_or_dies_keeps_nobody_waiting(make_bench, method, how):
    bench = make_bench(method, workers=1).start()
    (pid,) = bench.pids
    os.kill(pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
    bench.until(lambda: not is_alive(pid) or is_stopped(pid), "the signal has come")

    stacks = bench.stacks(0.3)

    assert "no answer" in stacks["worker-1"]
    if how == "stopped":
        os.kill(pid, signal.SIGCONT)
        bench.until(lambda: "no answer" not in bench.stacks(0.5)["worker-1"], "it answers again")


@pytest.mark.parametrize("vandal", ["closes", "replaces"])
@rotated()
def test_question_never_harms_a_worker_whose_files_are_not_its_own(
    make_bench, method, vandal, tmp_path
):
    (tmp_path / "theirs").write_text("not a question")
    deed = (
        ClosesAllFiles() if vandal == "closes" else PutsFileInPlaceOfAll(str(tmp_path / "theirs"))
    )
    bench = make_bench(method, workers=1).start()
    bench.submit(InTurn((deed, Sleeps(bench.voice.path))))
    (pid,) = bench.until_said("running")

    for _ in range(2):
        assert "no answer" in bench.stacks(0.3)["worker-1"]

    assert bench.pids == [pid]
    assert (tmp_path / "theirs").read_text() == "not a question"


@pytest.mark.parametrize("method", METHODS)
def test_a_question_opens_nothing(make_bench, method):
    bench = make_bench(method, workers=1).start()
    (pid,) = bench.pids
    bench.stacks()
    ours, theirs = open_fds(), os.listdir(f"/proc/{pid}/fd")

    for _ in range(20):
        bench.stacks()

    assert open_fds() == ours
    assert os.listdir(f"/proc/{pid}/fd") == theirs


@rotated()
def test_question_before_its_start_silences_no_worker(make_bench, method):
    bench = make_bench(method, workers=1).begin()
    bench.until(lambda: bool(bench.manager.handles[0].pid), "it has been started")
    bench.stacks(0.01)
    bench.until_manned()

    bench.until(lambda: bench.stacks() == {"worker-1": "idle"}, "it answers")
