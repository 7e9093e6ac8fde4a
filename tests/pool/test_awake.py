"""Time that nobody ran is nobody's time, and a busy process is not a frozen one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from unittest.mock import Mock

from scrapy_mpworkers.pool.awake import TICK
from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.interface import PoolOptions

#: Does one thing after the other, and tells of each how long it took and how long it was awake.
SCRIPT = """
import ctypes, json, sys, time
from scrapy_mpworkers.pool.awake import TICK, Awake

awake = Awake()
awake.hold("this script")

time.sleep(2 * TICK)  # so that a tick has come before the first deed

def measure(deed):
    begun = time.monotonic()
    deed()
    took = time.monotonic() - begun
    time.sleep(2 * TICK)
    print(json.dumps([took, awake.seconds_since(begun) - 2 * TICK]), flush=True)

def spin():
    end = time.process_time() + 1.0
    while time.process_time() < end:
        pass

measure(lambda: time.sleep(1.0))
measure(lambda: ctypes.PyDLL(None).usleep(1_000_000))  # and keeps the interpreter
measure(spin)
measure(lambda: print("frozen", flush=True) or sys.stdin.readline())
measure(lambda: time.sleep(0.1))
"""


def test_a_gap_counts_by_its_length_and_only_if_the_process_did_not_run() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        blocked = [json.loads(script.stdout.readline()) for _ in range(3)]
        assert script.stdout.readline() == "frozen\n"
        script.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        script.send_signal(signal.SIGCONT)
        print(file=script.stdin, flush=True)
        took, awake = json.loads(script.stdout.readline())
        after_took, after_awake = json.loads(script.stdout.readline())
        assert script.wait(20) == 0

    for busy_took, busy_awake in blocked:
        assert busy_awake > busy_took - 2 * TICK
    assert took >= 1.5
    assert awake < took - 1.5 + 2 * TICK
    assert after_awake > after_took - TICK  # what was before it takes nothing off


def test_the_thread_is_there_while_anybody_counts_and_not_longer() -> None:
    def ticks() -> bool:
        return any(thread.name == "mpworkers-awake" for thread in threading.enumerate())

    def end() -> None:
        deadline = time.monotonic() + 10
        while ticks():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    loop, called = Mock(call_later=lambda _, look: look()), []
    state = GroupState(PoolOptions(1, 0, 0, 1.0), loop)
    awake = state.awake
    awake.hold("one")
    awake.hold("two")
    awake.let_go("one")
    assert ticks()
    awake.let_go("two")
    end()
    state.later(0.0, lambda: called.append(True))
    assert called == [True]
    end()
    awake.hold("one")
    awake.end()
    end()
    awake.hold("one")
    assert not ticks()
