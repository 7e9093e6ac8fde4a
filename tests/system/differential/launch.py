"""Starts runners, under a deadline, and collects what they found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from exits import await_exits

from .combos import Combo
from .compare import Outcome
from .runner import SIDES

#: Seconds for one crawl of some ten items, workers started by the slowest method.
CRAWL_DEADLINE = 40.0
#: Seconds until a runner has imported everything, on a busy machine.
START_DEADLINE = 40.0
#: Cases that one runner runs. The first test of these waits for all of them, and a test that takes
#: ten minutes counts as one that hangs.
AT_ONCE = 70
#: Runners that these get, one after the other dying of a case, until they are given up.
MAX_RUNNERS = 4
#: Seconds that processes of a runner may outlive it.
PROCESS_EXIT_DEADLINE = 5.0

#: The environment variable that marks a runner's processes. Neither sessions nor groups would
#: do: workers lead groups of their own.
MARK = "DIFFERENTIAL_RUNNER"

_TESTS = Path(__file__).parents[2]
LOG_SHOWN = 8_000


@dataclass
class Recording:
    """What is known of one case in one combination: two outcomes, or why there are not two."""

    outcomes: dict[str, Outcome]
    problem: str | None
    log: str

    def report(self, found: Sequence[str]) -> str:
        return "\n".join([*found, "", "The end of the log:", self.log[-LOG_SHOWN:]])


@dataclass
class Runner:
    """A runner that has ended."""

    results: list[dict[str, Any]]
    exit_code: int | None
    log: bytes
    survivors: list[str]

    @property
    def end(self) -> str:
        if self.exit_code is None:
            return "the runner was killed: it did not end in time"
        return f"the runner ended with exit code {self.exit_code}"


def portion(names: Sequence[str], name: str) -> Sequence[str]:
    """Return those of *names* that one runner runs together with *name*."""
    first = names.index(name) // AT_ONCE * AT_ONCE
    return names[first : first + AT_ONCE]


def record(
    combo: Combo, cases: Sequence[str], deadline: float = CRAWL_DEADLINE
) -> tuple[dict[str, Recording], list[str]]:
    """Run the cases in one combination; return their recordings, and what runners left behind.

    A case that kills its runner is charged with it, and a new runner goes on with the next case.
    """
    recordings: dict[str, Recording] = {}
    left_behind: list[str] = []
    runner, runners = None, 0
    while len(recordings) < len(cases) and runners < MAX_RUNNERS:
        rest = [name for name in cases if name not in recordings]
        runner = run_runner(combo, rest, deadline)
        runners += 1
        recordings.update(read(runner))
        left_behind += runner.survivors
    if runner and runner.exit_code != 0 and "log_to" in (runner.results or [{}])[-1]:
        left_behind.append(f"all cases ran, but {runner.end}\n{text_of(runner.log)[-LOG_SHOWN:]}")
    for name in cases:
        if name not in recordings and runner:
            problem = f"not run: {runners} runners of {combo} died; of the last: {runner.end}"
            recordings[name] = Recording({}, problem, text_of(runner.log))
    return recordings, left_behind


def read(runner: Runner) -> Iterator[tuple[str, Recording]]:
    """Recordings of all cases that the runner began."""
    for name, results in groupby(runner.results, key=lambda result: result["case"]):
        yield name, _recording(list(results), runner)


def _recording(results: list[dict[str, Any]], runner: Runner) -> Recording:
    last = results[-1]
    outcomes = {result["side"]: result["outcome"] for result in results if "outcome" in result}
    problem = None
    if len(outcomes) < len(SIDES):
        errors = [
            f"the {one['side']} crawl raised:\n{one['error']}" for one in results if "error" in one
        ]
        problem = errors[0] if errors else f"in the {last['side']} crawl {runner.end}"
    return Recording(outcomes, problem, text_of(runner.log[last["log_from"] : last.get("log_to")]))


def text_of(log: bytes) -> str:
    return log.decode("utf-8", errors="replace")


def run_runner(combo: Combo, cases: Sequence[str], deadline: float) -> Runner:
    """Run one runner to its end, or to the deadline's, and leave no process of it behind."""
    with tempfile.TemporaryDirectory() as folder:
        spec, results, log = (Path(folder) / name for name in ("spec", "results", "log"))
        spec.write_text(json.dumps({**combo._asdict(), "cases": cases, "deadline": deadline}))
        with log.open("wb") as output:
            process = _start(spec, results, output)
            try:
                crawls = deadline * len(SIDES) * len(cases)
                exit_code = _wait(process, crawls + START_DEADLINE)
            finally:
                survivors = _kill_marked(process, str(spec))
        lines = results.read_text("utf-8").splitlines() if results.exists() else []
        found = [json.loads(line) for line in lines]
        return Runner(found, exit_code, log.read_bytes(), survivors)


def _start(spec: Path, results: Path, output: Any) -> subprocess.Popen[bytes]:
    """A runner whose processes, its own and its workers', are known by a mark they inherit.

    The tests' folder comes to ``sys.path`` through ``-m`` and not through ``PYTHONPATH``, so that
    workers have to be given it, as they have to in a user's script.
    """
    command = [sys.executable, "-m", f"{__package__}.runner"]
    return subprocess.Popen(
        [*command, str(spec), str(results)],
        cwd=_TESTS,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | {MARK: str(spec)},
    )


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    try:
        return process.wait(deadline)
    except subprocess.TimeoutExpired:
        return None


def _kill_marked(process: subprocess.Popen[bytes], mark: str) -> list[str]:
    """Kill what is left of the runner and its workers; return what had outlived the runner."""
    if process.poll() is None:
        process.kill()
        process.wait()
    marked = [one for one in psutil.process_iter() if _mark_of(one) == mark]
    return [_kill(survivor) for survivor in await_exits(marked, PROCESS_EXIT_DEADLINE)]


def _kill(process: psutil.Process) -> str:
    try:
        description = f"{process.pid} {process.cmdline()}"
        process.kill()
    except psutil.NoSuchProcess:
        return f"{process.pid}, which ended late"
    return description


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):  # gone, a zombie, or not ours to ask
        return None
