"""Workers that die: of what they run, of what they are sent, of the kernel's kill."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading

import pytest

from scrapy_mpworkers.errors import PoolBroken, WorkerDied

from .consumers import Behaviour
from .harness import METHODS, await_end, comes_true, own_threads, rotated
from .saboteurs import (
    Aborts,
    DiesInItsDestructor,
    DiesWhenUnpickled,
    ExitsQuietly,
    ExitsWithCode,
    HalfReport,
    KillsItself,
    RaisesAtBoot,
    ReturnsWhatDiesWhenPickled,
    Segfaults,
    dies_beside_its_child,
)
from .work import Carry, Digest, FirstTime, InTurn, Square, StartSleep

DEADLY = {
    "killed": (KillsItself(), -signal.SIGKILL),
    "exits with 0": (ExitsQuietly(), 0),
    "exits with 3": (ExitsWithCode(3), 3),
    "segfaults": (Segfaults(), -signal.SIGSEGV),
    "aborts": (Aborts(), -signal.SIGABRT),
    "dies when unpickled": (DiesWhenUnpickled(), 7),
    "result dies when pickled": (ReturnsWhatDiesWhenPickled(), 8),
    "dies in a destructor": (DiesInItsDestructor(), 9),
}


#: Each way to die once, the methods in turn; every pair in the full run.
WAYS_AND_METHODS = [
    pytest.param(way, method, marks=() if n % len(METHODS) == m else pytest.mark.full)
    for n, way in enumerate(DEADLY)
    for m, method in enumerate(METHODS)
]


@pytest.mark.parametrize(("way", "method"), WAYS_AND_METHODS)
def test_poison_task_is_given_up_and_all_others_are_done(make_bench, way, method):
    poison, exitcode = DEADLY[way]
    bench = make_bench(method, redeliver_times=2).start()

    before = bench.submit(*(Square(n) for n in range(30)))
    (poisonous,) = bench.submit(poison)
    after = bench.submit(*(Square(n) for n in range(30)))
    bench.until_settled()

    error = bench.error(poisonous)
    assert isinstance(error, WorkerDied)
    assert (error.deaths, error.exitcode) == (3, exitcode)
    assert [bench.result(n) for n in before + after] == 2 * [n**2 for n in range(30)]
    assert sum(bench.metrics.deaths.values()) == 3
    bench.until_manned().stop().assert_books()


@rotated()
def test_task_whose_worker_died_once_is_redelivered_and_done(make_bench, method, tmp_path):
    bench = make_bench(method).start()

    results = bench.run(
        FirstTime(str(tmp_path / "mark"), KillsItself()), *(Square(n) for n in range(50))
    )

    assert results == ["not the first time", *(n**2 for n in range(50))]
    assert bench.metrics.deaths == {"SIGKILL": 1}
    assert bench.metrics.redelivered >= 1
    bench.stop().assert_books()


@rotated()
def test_without_redelivery_the_first_death_is_the_last(make_bench, method):
    bench = make_bench(method, redeliver_times=0).start()

    (poisonous,) = bench.submit(KillsItself())
    bench.until_settled()

    assert bench.error(poisonous).deaths == 1
    assert bench.metrics.redelivered == 0


@rotated()
def test_idle_worker_that_is_killed_takes_nothing_along(make_bench, method):
    bench = make_bench(method).start()

    for deaths in range(1, 6):
        victim = bench.pids[0]
        os.kill(victim, signal.SIGKILL)
        results = bench.run(*(Square(n) for n in range(20)))
        bench.until(
            lambda: sum(bench.metrics.deaths.values()) == deaths,  # noqa: B023 - called at once
            "the death is known",
        )
        bench.until_manned()

        assert results == [n**2 for n in range(20)]
        assert victim not in bench.pids

    assert bench.metrics.deaths == {"SIGKILL": 5}
    bench.stop().assert_books()


@rotated()
def test_all_workers_killed_at_once_are_all_replaced(make_bench, method):
    bench = make_bench(method, workers=3).start()

    for pid in bench.pids:
        os.kill(pid, signal.SIGKILL)
    bench.until(lambda: bench.metrics.deaths == {"SIGKILL": 3}, "all deaths are known")

    assert bench.until_manned().run(Square(4)) == [16]
    bench.stop().assert_books()


@rotated()
def test_large_frames_come_as_they_were_while_workers_are_killed(make_bench, method):
    bench = make_bench(method, redeliver_times=100).start()
    chance = random.Random(1)
    frames = [chance.randbytes(chance.choice([100, 70_000, 600_000, 3_000_000])) for _ in range(60)]

    ids: list[int] = []
    for deaths in range(1, 4):
        ids += bench.submit(*(Digest(frame) for frame in frames))
        bench.until(lambda: any(bench.settled[n] for n in ids[-60:]), "some are settled")  # noqa: B023
        os.kill(bench.pids[0], signal.SIGKILL)
        bench.until(lambda: bench.metrics.deaths == {"SIGKILL": deaths}, "the death is known")  # noqa: B023
    bench.until_settled()

    digests = [hashlib.sha256(frame).hexdigest() for frame in frames]
    assert [bench.result(n) for n in ids] == digests * 3
    bench.stop().assert_books()


@rotated()
def test_busy_worker_that_is_killed_costs_no_task(make_bench, method):
    bench = make_bench(method).start()
    ids = bench.submit(*[bench.say_and_wait()] * 6)
    victim, survivor = bench.until_said("running", times=2)

    os.kill(victim, signal.SIGKILL)
    bench.until(lambda: bench.metrics.deaths == {"SIGKILL": 1}, "the death is known")
    bench.gate.open_for(6)
    bench.until_settled()

    assert all(bench.result(n) != victim for n in ids)
    assert survivor in {bench.result(n) for n in ids}
    bench.stop().assert_books()


@rotated()
def test_only_the_running_task_is_charged_with_a_death(make_bench, method):
    bench = make_bench(method, workers=1, redeliver_times=0).start()
    running, *waiting = bench.submit(bench.say_and_wait(), *(Square(n) for n in range(20)))
    (victim,) = bench.until_said("running")

    os.kill(victim, signal.SIGKILL)
    bench.until_settled()

    assert isinstance(bench.error(running), WorkerDied)
    assert [bench.result(n) for n in waiting] == [n**2 for n in range(20)]


@rotated()
def test_results_written_before_a_death_count(make_bench, method):
    # One lane, one message: the results leave in one report after the last task, or earlier.
    bench = make_bench(method, workers=1, redeliver_times=0).start()
    done = bench.submit(*(Square(n) for n in range(40)))
    bench.until_settled(done)

    (poisonous,) = bench.submit(KillsItself())
    bench.until_settled()

    assert [bench.result(n) for n in done] == [n**2 for n in range(40)]
    assert isinstance(bench.error(poisonous), WorkerDied)
    bench.assert_books()


@rotated()
def test_half_a_report_is_discarded_and_its_task_runs_again(make_bench, method, tmp_path):
    bench = make_bench(method, redeliver_times=0).start()
    half = HalfReport(signal.SIGKILL, 20_000_000)

    again, *others = bench.run(
        FirstTime(str(tmp_path / "mark"), half), *(Square(n) for n in range(30))
    )

    assert again == "not the first time"
    assert others == [n**2 for n in range(30)]
    assert bench.metrics.deaths == {"SIGKILL": 1}
    bench.stop().assert_books()


@rotated()
def test_subprocess_of_a_worker_dies_with_it(make_bench, method):
    bench = make_bench(method, redeliver_times=0).start()

    bench.submit(InTurn((StartSleep(bench.voice.path), KillsItself())))
    (child,) = bench.until_said("child")
    bench.until_settled()

    await_end([child])


@rotated()
def test_worker_is_missed_although_its_own_forked_child_lives_on(make_bench, method):
    bench = make_bench(method, redeliver_times=0).start()

    assert isinstance(dies_beside_its_child(bench), WorkerDied)


@rotated()
def test_feeder_blocked_by_a_full_pipe_ends_with_its_worker(make_bench, method):
    bench = make_bench(method, workers=1).start()
    bench.submit(bench.say_and_wait())
    (victim,) = bench.until_said("running")
    large = bench.submit(Carry(bytes(20_000_000)), Square(3))  # more than a pipe can hold

    os.kill(victim, signal.SIGKILL)
    bench.until(lambda: bench.metrics.deaths == {"SIGKILL": 1}, "the death is known")
    bench.gate.open_for(1)
    bench.until_settled()

    assert [bench.result(n) for n in large] == [20_000_000, 9]
    bench.stop().assert_books()
    assert comes_true(lambda: "mpworkers-feeder" not in own_threads())


@rotated()
def test_exit_code_is_told_to_everyone_who_asks_at_once(make_bench, method):
    # Whenever somebody starts a process, multiprocessing asks all others for their exit codes.
    processes = make_bench(method).processes
    processes.take_server()
    for code in range(1, 6):
        process = processes.start(os._exit, (code,), "exits")
        together, heard = threading.Barrier(8), []

        def ask(process=process, together=together, heard=heard):
            together.wait()
            process.join(timeout=20)
            heard.append(process.exitcode)

        askers = [threading.Thread(target=ask) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        process.close()

        assert heard == [code] * 8
    processes.close()


@rotated()
def test_consumers_that_cannot_be_opened_break_the_pool(make_bench, method):
    bench = make_bench(
        method, workers=1, intensity=3, behaviour=lambda bench: Behaviour(open=RaisesAtBoot())
    )

    bench.begin()
    ids = bench.submit(Square(3))
    bench.until(lambda: bool(bench.events.errors), "the pool is broken")

    assert len(bench.events.boot_failures) == 4
    assert all(b"cannot be opened" in failure for failure in bench.events.boot_failures)
    assert all(isinstance(bench.error(n), PoolBroken) for n in ids)
    bench.assert_books()


@rotated()
def test_crashes_while_starting_break_the_pool_after_the_intensity(make_bench, method):
    bench = make_bench(
        method, workers=1, intensity=3, behaviour=lambda bench: Behaviour(open=ExitsWithCode(5))
    )
    bench.begin()
    early = bench.submit(Square(1))

    bench.until(lambda: bool(bench.events.errors), "the pool is broken")
    late = bench.submit(Square(2))
    bench.until_settled()

    assert bench.metrics.deaths == {"exit_5": 4}
    assert len(bench.events.errors) == 1
    assert "exited with code 5" in str(bench.events.errors[0])
    assert all(isinstance(bench.error(n), PoolBroken) for n in early + late)
    bench.stop().assert_books()


@rotated()
def test_no_worker_lives_on_in_a_broken_pool(make_bench, method):
    bench = make_bench(
        method,
        workers=2,
        intensity=1,
        behaviour=lambda bench: Behaviour(open=ExitsWithCode(5)),
    )

    bench.begin()
    bench.until(lambda: bool(bench.events.errors), "the pool is broken")
    bench.until(lambda: not bench.manager.handles, "all lanes are gone")

    assert len(bench.events.errors) == 1


@rotated()
def test_pool_that_gives_up_poison_tasks_one_by_one_is_not_broken(make_bench, method):
    # More deaths than the intensity, none of them of a worker that had settled anything; but
    # each poison task is settled, as a dead letter, and the tasks behind them wait to be done. One
    # more in a row, before any other is done, would mean that it is the pipelines.
    bench = make_bench(method, redeliver_times=2, intensity=12).start()

    poisonous = bench.submit(*[KillsItself()] * 5)
    fine = bench.submit(*(Square(n) for n in range(20)))
    bench.until_settled()

    assert bench.events.errors == []
    assert all(isinstance(bench.error(n), WorkerDied) for n in poisonous)
    assert [bench.result(n) for n in fine] == [n**2 for n in range(20)]


@pytest.mark.parametrize("method", ["fork"])
def test_one_worker_that_comes_upon_poison_tasks_in_a_row_is_replaced_each_time(make_bench, method):
    bench = make_bench(method, workers=1, redeliver_times=3, intensity=4).start()

    ids = bench.submit(*[KillsItself()] * 5, Square(3), *[ExitsWithCode(3)] * 5, Square(4))
    bench.until_settled()

    assert bench.events.errors == []
    assert [n for n in ids if not isinstance(bench.result(n), WorkerDied)] == [ids[5], ids[11]]
    assert sum(bench.metrics.deaths.values()) == 40
    bench.stop().assert_books()


@rotated()
def test_pool_whose_every_task_kills_is_broken_before_it_has_tried_them_all(make_bench, method):
    bench = make_bench(method, workers=2, redeliver_times=2, intensity=3).start()

    ids = bench.submit(*[ExitsWithCode(3)] * 40)
    bench.until_settled()

    [error] = bench.events.errors
    assert "before they settled anything, while they ran 5 different items" in str(error)
    assert "exited with code 3. Look for the first error" in str(error)
    assert 9 <= bench.metrics.deaths["exit_3"] <= 15
    assert sum(isinstance(bench.error(n), WorkerDied) for n in ids) <= 5
    bench.stop().assert_books()


@rotated()
def test_settled_tasks_forgive_fruitless_deaths(make_bench, method):
    bench = make_bench(method, workers=2, intensity=2).start()

    for deaths in range(1, 6):
        os.kill(bench.pids[-1], signal.SIGKILL)
        bench.until(
            lambda: sum(bench.metrics.deaths.values()) == deaths,  # noqa: B023 - called at once
            "the death is known",
        )
        bench.until_manned().run(Square(deaths))

    assert bench.events.errors == []
