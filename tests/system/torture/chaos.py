"""Breaks random workers of a pool while it works, and counts what comes of its items."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from pool.harness import Bench
from pool.work import Slowly, TakeSeconds


@dataclass(frozen=True)
class Storm:
    """What is done: *items* of up to 20 ms, and a blow to a random worker every so many seconds."""

    items: int
    every: float
    seed: int


class Striker:
    """A thread that strikes: SIGKILL, SIGTERM, or SIGSTOP with a SIGCONT within a second."""

    def __init__(self, bench: Bench, storm: Storm) -> None:
        self._bench = bench
        self._every = storm.every
        self._random = random.Random(storm.seed)
        self._over = threading.Event()
        self._stopped: list[tuple[float, int]] = []  # (when to continue, on our clock; pid)
        self.blows = 0
        self._thread = threading.Thread(target=self._strike_on)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _strike_on(self) -> None:
        now = 0.0
        while not self._over.wait(self._every):
            now += self._every
            self._continue_until(now)
            pids: Sequence[int] = self._bench.pids
            if pids:
                self._strike(self._random.choice(pids), now)
        self._continue_until(float("inf"))

    def _strike(self, pid: int, now: float) -> None:
        blow = self._random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
        self.blows += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, blow)
            if blow == signal.SIGSTOP:
                self._stopped.append((now + self._random.uniform(0.0, 1.0), pid))

    def _continue_until(self, now: float) -> None:
        due = [pid for when, pid in self._stopped if when <= now]
        self._stopped = [(when, pid) for when, pid in self._stopped if when > now]
        for pid in due:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def weather(bench: Bench, storm: Storm) -> int:
    """Let the pool work through the storm; returns the number of blows."""
    chance = random.Random(storm.seed + 1)
    striker = Striker(bench, storm)
    try:
        bench.submit(*(TakeSeconds(chance.uniform(0, 0.02)) for _ in range(storm.items)))
        bench.until(lambda: bench.pool.pending == 0, "all items are settled", seconds=300)
    finally:
        striker.end()
    return striker.blows


def weather_in_parts(bench: Bench, storm: Storm, parts: int) -> int:
    """Do as :func:`weather` with tasks that give so many *parts* each, the numbers from 0 on, and
    are told to go on when each has come."""
    chance = random.Random(storm.seed + 1)
    given = bench.events.parts
    going_on = 0

    def all_are_settled() -> bool:
        nonlocal going_on
        while going_on < len(given):
            bench.pool.go_on(given[going_on][0])
            going_on += 1
        return bench.pool.pending == 0

    striker = Striker(bench, storm)
    try:
        for _ in range(storm.items):
            bench.submit(bench.in_parts(*_slowly(chance, parts)))
        bench.until(all_are_settled, "all items are settled", seconds=300)
    finally:
        striker.end()
    return striker.blows


def _slowly(chance: random.Random, parts: int) -> list[Slowly]:
    return [Slowly(number, chance.uniform(0, 0.01)) for number in range(parts)]
