"""A cluster that a crawl starts for itself: nobody else on the machine gets in."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from system.crawls.harness import Crawl

from .cluster import TESTS

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

#: What another user of the machine would try at a port that he sees: as Dask's client without a
#: certificate, and with one that he has made himself.
STRANGER = """
import os, sys, logging
from distributed import Client
from distributed.security import Security
logging.disable()
address, kind = sys.argv[1:]
security = None if kind == "none" else Security.temporary()
if kind == "none":
    address = address.replace("tls://", "tcp://")
try:
    with Client(address, security=security, timeout=3) as client:
        print("let in:", client.run_on_scheduler(os.getpid))
except OSError as error:
    print("refused")
"""


@pytest.mark.full
def test_nobody_without_the_certificate_gets_in(
    crawl: Callable[..., Crawl], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As another user would leave it in /tmp, to exchange there what others put into it.
    trap = tmp_path / "tmp/dask-scratch-space"
    trap.mkdir(parents=True)
    trap.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(trap.parent))
    started = crawl(
        "Gated", held=True, GATE=str(tmp_path / "crawl0/gate"), MPWORKERS_WORKERS=1, ITEMS=2
    )
    started.wait_for("A Dask cluster of 1 workers")
    [address] = [
        found[1] for line in started._lines if (found := re.search(r"workers: (\S+),", line.text))
    ]

    answers = {kind: stranger(address, kind) for kind in ("none", "own")}
    spoken = [plain_greeting(port) for port in listening(started)]
    in_the_trap = list(trap.iterdir())
    [private] = trap.parent.glob("mpworkers-dask-*")
    mode = private.stat().st_mode
    started.open_gate()
    ended = started.finish()

    assert address.startswith("tls://127.0.0.1:")
    assert answers == {"none": "refused", "own": "refused"}
    # Scheduler, nanny and worker, and the pages of scheduler and worker, which run nothing.
    assert len(spoken) >= 3
    assert not any(b"protocol" in greeting or b"compression" in greeting for greeting in spoken)
    assert not in_the_trap
    assert stat.S_IMODE(mode) == 0o700
    assert [left.name for left in trap.parent.iterdir()] == [trap.name]
    assert ended.numbers == [1, 2]
    assert "PRIVATE KEY" not in ended.log


def stranger(address: str, kind: str) -> str:
    command = [sys.executable, "-c", STRANGER, address, kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, timeout=60)
    return done.stdout.strip()


def listening(crawl: Crawl) -> set[int]:
    ports = set()
    for process in crawl.processes():
        ports |= {
            one.laddr.port for one in process.net_connections() if one.status == psutil.CONN_LISTEN
        }
    return ports


def plain_greeting(port: int) -> bytes:
    """What a server of Dask says first to whoever connects without TLS: its protocol."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
        try:
            return connection.recv(1000)
        except OSError:
            return b""
