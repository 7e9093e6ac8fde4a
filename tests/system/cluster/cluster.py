"""A real Dask cluster on loopback: a scheduler and workers, each a process that a test can kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from exits import await_exits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TESTS = Path(__file__).parents[2]
#: Seconds for a scheduler or a worker to be there, on a busy machine.
DEADLINE = 60.0


class Cluster:
    """A scheduler, and worker processes below nannies.

    Args:
        folder: for logs and whatever Dask keeps.
        workers: to begin with.
        environment: Dask's configuration, for all of them.
        protocol: ``tcp`` or ``tls``.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 2,
        environment: Mapping[str, str] | None = None,
        protocol: str = "tcp",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._tag = uuid.uuid4().hex
        self._environment = dict(environment or {})
        self.scheduler_file = folder / "scheduler.json"
        self.log = folder / "log"
        self.nannies: list[subprocess.Popen[bytes]] = []
        options = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        options += ["--scheduler-file", str(self.scheduler_file), "--protocol", protocol]
        self.scheduler = self._start("scheduler", *options)
        self._await(lambda: "Scheduler at" in self.log_text(), "no scheduler came")
        self.address = self._address()
        for _ in range(workers):
            self.add_worker()
        self.await_workers(workers)

    def _address(self) -> str:
        words = self.log_text().split("Scheduler at:")[1].split()
        return words[0]

    def _start(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + role, *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
                    "CLUSTER_TAG": self._tag,
                    # Pipelines may start processes of their own.
                    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
                    "DASK_TEMPORARY_DIRECTORY": str(self._folder),
                }
                | self._environment,
                start_new_session=True,
            )

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Another worker; returns the process of its nanny."""
        common = ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
        nanny = self._start("worker", self.address, *common, *options)
        self.nannies.append(nanny)
        return nanny

    def worker_pids(self) -> list[int]:
        """The processes in which tasks run."""
        pids = []
        for nanny in self.nannies:
            with contextlib.suppress(psutil.Error):
                children = psutil.Process(nanny.pid).children()
                commands = {one.pid: " ".join(one.cmdline()) for one in children}
                # Dask gives them a title of their own, if setproctitle is there.
                titles = "spawn_main", "dask worker"
                pids += [pid for pid, said in commands.items() if any(map(said.count, titles))]
        return pids

    def await_workers(self, count: int) -> None:
        """Wait until so many have been registered in all."""
        registered = "Register worker"
        self._await(lambda: self.log_text().count(registered) >= count, f"no {count} workers")

    def await_log(self, text: str, count: int = 1) -> None:
        """Wait until the cluster has logged something so often."""
        self._await(lambda: self.log_text().count(text) >= count, f"not logged: {text}")

    def log_text(self) -> str:
        """What scheduler and workers have logged."""
        return self.log.read_text("utf-8", "replace")

    def _await(self, true: Callable[[], bool], otherwise: str) -> None:
        # Other processes' logs have no event to wait for.
        deadline = time.monotonic() + DEADLINE
        while not true():
            if time.monotonic() > deadline:
                pytest.fail(f"{otherwise}\n{self.log_text()[-4000:]}", pytrace=True)
            time.sleep(0.05)

    def close(self) -> None:
        """Leave no process behind."""
        # One after the other: a worker whose scheduler is gone says goodbye to it for 8 seconds.
        for processes in (self.nannies, [self.scheduler]):
            for process in processes:
                process.send_signal(signal.SIGTERM)
            await_exits([psutil.Process(one.pid) for one in processes if one.poll() is None], 3)
        for left in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                # Resource trackers end by themselves, and remove what the others have left.
                if "multiprocessing.resource_tracker" not in " ".join(left.cmdline()):
                    left.kill()
        for process in [*self.nannies, self.scheduler]:
            process.wait(10)
        assert not await_exits(self._processes(), 5)

    def _processes(self) -> list[psutil.Process]:
        return [one for one in psutil.process_iter() if self._is_ours(one)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            is_tagged = process.environ().get("CLUSTER_TAG") == self._tag
            return is_tagged and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False
