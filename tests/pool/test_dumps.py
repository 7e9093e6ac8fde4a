"""Whether a signal can make a process write its stacks, from what its kernel says of it."""

from __future__ import annotations

import signal

import pytest

from scrapy_mpworkers.pool.dumps import why_deaf

HANDLER = f"SigCgt:\t{1 << signal.SIGURG - 1:016x}\n"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (f"State:\tS (sleeping)\n{HANDLER}", ""),
        ("State:\tS (sleeping)\nSigCgt:\t0000000000000000\n", "the process has no handler"),
        (f"State:\tT (stopped)\n{HANDLER}", "the process is stopped"),
        ("State:\tR (running)\n", ""),  # gVisor does not list what is caught
        ("", ""),
    ],
    ids=["handled", "unhandled", "stopped", "unlisted", "empty"],
)
def test_why_a_process_takes_no_signal(status: str, why: str) -> None:
    found = why_deaf(status.encode().splitlines(keepends=True))

    assert found.startswith(why)
    assert bool(found) == bool(why)
