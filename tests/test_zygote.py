"""What a fork of the zygote begins as: what a new interpreter begins as, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
import zygote

FACTS = """
import gc, json, locale, logging, os, signal, stat, sys, threading

def kind(fd):
    try:
        # libffi opens itself for ctypes, and stays open (3.5.2).
        is_there = "/libffi." not in os.readlink(f"/proc/self/fd/{fd}")
        return stat.S_IFMT(os.fstat(fd).st_mode) if is_there else None
    except OSError:
        return None

print(json.dumps({
    "argv": sys.argv,
    "path": sys.path,
    "main": [__name__, __file__, sys.modules["__main__"].__dict__ is globals()],
    "spec": repr(__spec__),
    "cwd": os.getcwd(),
    "environment": dict(os.environ),
    "group": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "files": {fd: kind(fd) for fd in range(100) if kind(fd) is not None},
    "inheritable": [fd for fd in range(100) if kind(fd) and os.get_inheritable(fd)],
    "signals": {str(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "umask": os.umask(0),
    "threads": threading.active_count(),
    "flags": str(sys.flags),
    "streams": [[one.encoding, one.errors, one.line_buffering] for one in (sys.stdout, sys.stderr)],
    "locale": locale.setlocale(locale.LC_ALL),
    "handlers": len(logging.root.handlers),
    "collector": [gc.isenabled(), gc.get_threshold()],
    "ours": [name for name in sys.modules if name.startswith("scrapy_mpworkers")],
    "reactor": "twisted.internet.reactor" in sys.modules,
}), flush=True)
"""

ENDS = {
    "falls off its end": ("", 0),
    "exits": ("raise SystemExit(3)", 3),
    "raises": ("1 / 0", 1),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs a script to its end: in a fork, or in a new interpreter."""
    script = tmp_path / "script.py"

    def run(code: str, is_forked: bool) -> tuple[int, str, str]:
        script.write_text(code)
        env = os.environ | {zygote.TAG: "0" * 32, "PYTHONFAULTHANDLER": "1", "OWN": "ä"}
        out, err = tmp_path / "out", tmp_path / "err"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            files = (to_out.fileno(), to_err.fileno())
            process = _start([script, "an", "argument"], tmp_path, env, files, is_forked)
            code_of_end = process.wait(60)
        return code_of_end, out.read_text(), err.read_text()

    return run


def _start(
    command: list[Any], cwd: Path, env: dict[str, str], files: tuple[int, int], is_forked: bool
) -> subprocess.Popen[bytes] | zygote.Forked:
    if is_forked:
        assert zygote.can_start(command, env)
        return zygote.start(command, cwd, env, *files)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=files[0],
        stderr=files[1],
        start_new_session=True,
    )


@pytest.fixture(autouse=True)
def _forks_in_a_full_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRESH_CRAWLS", raising=False)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no zygote elsewhere")


def test_a_fork_begins_as_a_new_interpreter_does(run: Any) -> None:
    forked, fresh = (json.loads(run(FACTS, is_forked)[1]) for is_forked in (True, False))

    assert forked == fresh
    assert forked["ours"] == []
    assert forked["reactor"] is False


@pytest.mark.parametrize("end", ENDS)
def test_a_fork_ends_as_a_new_interpreter_does(run: Any, end: str) -> None:
    code, exit_code = ENDS[end]

    forked, fresh = (run(code, is_forked) for is_forked in (True, False))

    assert forked[0] == fresh[0] == exit_code
    assert forked[1] == fresh[1]
    assert forked[2].splitlines()[-1:] == fresh[2].splitlines()[-1:]


def test_a_fork_is_known_by_its_tag_from_outside_and_hears_signals(tmp_path: Path) -> None:
    tag = uuid.uuid4().hex
    script = tmp_path / "script.py"
    script.write_text("import os, time; os.fork(); os.write(1, b'up\\n'); time.sleep(60)")
    env = os.environ | {zygote.TAG: tag, "PYTHONFAULTHANDLER": "1"}
    read, write = os.pipe()
    with open(os.devnull, "w") as nothing, open(read) as said:
        process = zygote.start([script], tmp_path, env, write, nothing.fileno())
        os.close(write)
        assert [said.readline(), said.readline()] == ["up\n", "up\n"]

        marked = [one for one in psutil.process_iter() if _tag_of(one) == tag]

        assert len(marked) == 2
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        assert said.read() == ""  # both are gone


def _tag_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(zygote.TAG)
    except psutil.Error:
        return None


def test_an_environment_for_another_interpreter_is_no_case_for_a_fork() -> None:
    assert not zygote.can_start(["script.py"], os.environ | {"PYTHONHASHSEED": "1"})
    assert not zygote.can_start(["-c", "pass"], os.environ | {"PYTHONFAULTHANDLER": "1"})
