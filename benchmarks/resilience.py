"""What kills and recycling cost, on a bare pool. Runs are interleaved; medians and ratios count.

    python benchmarks/resilience.py [runs]

- chaos: items of 0 to 20 ms on 8 workers, a random one of which is killed, terminated, or stopped
  for up to a second, every 50 ms; against the same items in calm weather. Of 8 workers about a
  third of the time is lost to the stops alone, whatever a pool does;
- detection: from the kill of a busy worker to its item running again in another;
- recycling: items of 10 ms with a worker replaced every 100 of its items, against none.

The pool of the tests is used, without Scrapy around it.
"""

from __future__ import annotations

import logging
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pool.harness import Bench
from pool.work import TakeSeconds
from system.torture.chaos import Storm, Striker

WORKERS = 8


@contextmanager
def pool(method: str, **options: Any) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), method, **options).start()
        try:
            yield bench
        finally:
            bench.stop().close()


def seconds_for(bench: Bench, works: list[TakeSeconds]) -> float:
    begun = perf_counter()
    bench.submit(*works)
    bench.until(lambda: bench.pool.pending == 0, "all are settled", seconds=300)
    return perf_counter() - begun


def chaos(storm: bool, items: int = 10_000) -> float:
    """Items a second."""
    chance = random.Random(1)
    works = [TakeSeconds(chance.uniform(0, 0.02)) for _ in range(items)]
    with pool("forkserver", workers=WORKERS, redeliver_times=20) as bench:
        striker = Striker(bench, Storm(items, 0.05, seed=1)) if storm else None
        try:
            return items / seconds_for(bench, works)
        finally:
            if striker:
                striker.end()


def recycling(max_items: int, items: int = 1_000) -> float:
    """Items a second."""
    with pool("forkserver", workers=2, max_items=max_items) as bench:
        return items / seconds_for(bench, [TakeSeconds(0.01)] * items)


def detection(kills: int = 50) -> list[float]:
    """Seconds from each kill to the redelivered item running again."""
    took = []
    with pool("forkserver", workers=2, redeliver_times=1_000, intensity=1_000) as bench:
        bench.submit(bench.say_and_wait())
        for n in range(kills):
            victim = bench.until_said("running", times=n + 1)[n]
            begun = perf_counter()
            os.kill(victim, signal.SIGKILL)
            bench.until_said("running", times=n + 2)
            took.append(perf_counter() - begun)
            bench.until_manned()
        bench.gate.open_for(1)
        bench.until_settled()
    return took


def compare(name: str, one: Callable[[], float], other: Callable[[], float], runs: int) -> None:
    pairs = [(one(), other()) for _ in range(runs)]
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:<12} {first:8.0f} items/s against {second:8.0f}: ratio {ratio:.2f}")


def main(runs: int) -> None:
    logging.disable(logging.WARNING)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {runs} runs, forkserver")
    compare("chaos", lambda: chaos(True), lambda: chaos(False), runs)
    compare("recycling", lambda: recycling(100), lambda: recycling(0), runs)
    took = sorted(detection())
    p99 = took[int(len(took) * 0.99)]
    median = statistics.median(took)
    print(f"detection    median {median * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms of {len(took)} kills")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
