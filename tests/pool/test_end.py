"""How it ends: pills, the grace ladder, an exit that is in a hurry, a parent that is killed."""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic

import pytest

from .consumers import Behaviour
from .harness import NamedPipe, await_end, children, is_alive, is_fork_server, rotated
from .saboteurs import HangsInBuild, HoldsTheInterpreter, ImmuneToPolitenessAndStuck
from .work import InTurn, StartSleep

HARD_TO_END = {
    "waits": "work.SayAndWait(said, bench.gate.path)",
    "deaf": "saboteurs.ImmuneToPolitenessAndStuck(said)",
    "holds the interpreter": "saboteurs.HoldsTheInterpreter(said)",
}


@pytest.fixture
def voice(tmp_path):
    pipe = NamedPipe(tmp_path / "voice")
    yield pipe
    pipe.close()


def lines_of(voice, count):
    """Waits for *count* lines of the script's workers."""
    import select

    lines = []
    while len(lines) < count:
        ready, _, _ = select.select([voice], [], [], 20)
        assert ready, f"only {lines} was said"
        lines += voice.lines()
    return [line.split() for line in lines]


@rotated()
def test_worker_that_is_being_opened_at_stop_is_closed_too(make_bench, method):
    def behaviour(bench):
        return Behaviour(open=bench.say_and_wait("opening"), close=bench.say("closed"))

    bench = make_bench(method, workers=2, behaviour=behaviour)
    bench.begin()
    bench.until_said("opening")
    bench.gate.open_for(1)
    bench.until(lambda: len(bench.pids) == 1, "one is ready")
    opening = bench.until_said("opening", times=2)

    bench.stop(1000, after_request=lambda: bench.gate.open_for(1))

    assert sorted(bench.until_said("closed", times=2)) == sorted(opening)
    assert bench.metrics.deaths == {}


@rotated()
def test_worker_that_does_not_come_to_its_opening_is_not_waited_for(make_bench, method, tmp_path):
    gate = tmp_path / "hang"
    bench = make_bench(
        method, workers=2, behaviour=lambda bench: Behaviour(define=HangsInBuild(str(gate)))
    ).start()
    gate.touch()
    os.kill(bench.pids[0], signal.SIGKILL)
    bench.until(lambda: bench.metrics.started == 3, "its replacement is started")

    bench.stop(1000)


@rotated(plain=False)
def test_worker_that_does_not_end_is_killed_by_the_grace_ladder(make_bench, method):
    bench = make_bench(method, workers=2).start()
    stuck = bench.submit(*[ImmuneToPolitenessAndStuck(bench.voice.path)] * 2)
    pids = bench.until_said("stuck", times=2)

    started = monotonic()
    bench.stop(timeout=0.2)

    assert monotonic() - started < 10.0
    assert len(stuck) == 2
    await_end(pids, seconds=0)
    bench.assert_books()


@rotated()
def test_worker_that_hangs_in_close_is_killed_by_the_grace_ladder(make_bench, method):
    bench = make_bench(
        method,
        behaviour=lambda bench: Behaviour(close=ImmuneToPolitenessAndStuck(bench.voice.path)),
    ).start()

    bench.stop(timeout=0.2)

    assert children() == []


@rotated()
def test_kill_ends_busy_workers_and_their_subprocesses_at_once(make_bench, method):
    bench = make_bench(method, workers=1).start()
    (running,) = bench.submit(
        InTurn((StartSleep(bench.voice.path), HoldsTheInterpreter(bench.voice.path)))
    )
    (worker,) = bench.until_said("holding")
    (child,) = bench.until_said("child")

    bench.pool.kill()
    bench.until(lambda: not bench.manager.handles, "all lanes are gone")

    await_end([worker, child])
    bench.stop()
    assert len(bench.settled[running]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this death")
@pytest.mark.parametrize("work", HARD_TO_END)
@rotated()
def test_no_worker_outlives_a_parent_that_is_killed(start_script, voice, method, work):
    script = start_script(
        f"bench.submit(*[{HARD_TO_END[work]}] * 2)\n"
        "bench.until(lambda: False, 'never', seconds=60)",
        method,
        voice.path,
    )
    pids = [int(pid) for _, pid in lines_of(voice, 2)]

    script.kill()
    script.communicate()

    await_end(pids)


@rotated()
def test_idle_workers_and_their_server_do_not_outlive_a_parent_that_is_killed(
    start_script, voice, method
):
    script = start_script(
        "work.Say(said)()\nbench.until(lambda: False, 'never', seconds=60)",
        method,
        voice.path,
    )
    lines_of(voice, 1)
    left = [process.pid for process in children() if process.pid != script.pid]

    script.kill()
    script.communicate()

    assert len(left) >= 2
    await_end(left)


FORKS = {
    "os.fork": "if os.fork() == 0: work.live_on(said)",
    "multiprocessing": "multiprocessing.Process(target=work.live_on, args=(said,)).start()",
    # No function that is registered with os.register_at_fork runs in this child.
    "native code": "if work.fork_natively() == 0: work.live_on(said)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this death")
@pytest.mark.parametrize(
    "fork",
    ["os.fork", pytest.param("multiprocessing", marks=pytest.mark.full), "native code"],
)
@rotated()
def test_no_worker_outlives_a_killed_parent_whose_child_lives_on(start_script, voice, method, fork):
    script = start_script(
        "import multiprocessing; multiprocessing.set_start_method('fork')\n"
        f"{FORKS[fork]}\n"
        "bench.submit(*[work.SayAndWait(said, bench.gate.path)] * 2)\n"
        "bench.until(lambda: False, 'never', seconds=60)",
        method,
        voice.path,
    )
    said = lines_of(voice, 3)
    (heir,) = [int(pid) for word, pid in said if word == "heir"]
    busy = [int(pid) for word, pid in said if word != "heir"]
    server = [p.pid for p in children() if is_fork_server(p)]

    script.kill()
    try:
        await_end([*busy, *server], seconds=2)
        assert is_alive(heir)
    finally:
        os.kill(heir, signal.SIGKILL)
        script.communicate()


@rotated()
def test_exit_without_a_stop_waits_for_no_busy_worker(start_script, voice, method):
    script = start_script(
        "bench.submit(*[saboteurs.ImmuneToPolitenessAndStuck(bench.voice.path)] * 2)\n"
        "bench.until_said('stuck', times=2)\n",
        method,
        voice.path,
    )

    _, stderr = script.communicate(timeout=20)

    assert script.returncode == 0
    assert b"Traceback" not in stderr


@rotated()
def test_exit_waits_for_no_feeder_that_is_blocked(start_script, voice, method):
    script = start_script(
        "bench.submit(*[saboteurs.ImmuneToPolitenessAndStuck(bench.voice.path)] * 2)\n"
        "bench.until_said('stuck', times=2)\n"
        "bench.submit(*[work.Carry(bytes(5_000_000))] * 4)\n"
        "bench.calls.run()  # leased: the feeders have more to write than a pipe can hold\n",
        method,
        voice.path,
    )

    _, stderr = script.communicate(timeout=20)

    assert script.returncode == 0
    assert b"Traceback" not in stderr


@rotated()
def test_workers_never_run_the_main_module_of_their_parent(tmp_path, start_script, voice, method):
    script = start_script("bench.run(work.Square(2)); bench.close()", method, voice.path)

    _, stderr = script.communicate(timeout=20)

    assert (script.returncode, stderr) == (0, b"")
    assert (tmp_path / "runs").read_text() == "run\n"


@rotated()
def test_signals_to_the_whole_group_end_no_worker(start_script, voice, method):
    script = start_script(
        "import signal\n"
        "pids, told = bench.pids, []\n"
        "signal.signal(signal.SIGTERM, lambda *_: told.append(1))\n"
        "work.Say(said)()\n"
        "while not told: signal.sigtimedwait([], 0.05)\n"
        "assert bench.run(*[work.Square(3)] * 10) == [9] * 10\n"
        "assert bench.pids == pids\n"
        "bench.close()\n",
        method,
        voice.path,
    )
    lines_of(voice, 1)

    for process in children():
        os.kill(process.pid, signal.SIGTERM)
    _, stderr = script.communicate(timeout=30)

    assert script.returncode == 0, stderr.decode()
