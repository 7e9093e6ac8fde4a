"""A PostgreSQL server on loopback, for as long as it is wanted.

    python tests/postgres.py COMMAND...

runs the command with ``STORE_DSN`` in its environment.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 60.0
#: Debian keeps the server's programs out of the PATH.
FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),)


@cache
def program(name: str) -> str | None:
    """The path of one of the server's programs, if it is installed."""
    return shutil.which(name) or next(
        (str(folder / name) for folder in FOLDERS if (folder / name).exists()), None
    )


def why_not() -> str | None:
    """Why there can be no server here, if there cannot."""
    if program("initdb") is None or program("postgres") is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    return None


class Postgres:
    """A server with a data folder of its own.

    It does not run as root: there it is the user that Debian's package makes, or ``nobody``.

    Args:
        durable: whether a commit waits for the disk.
    """

    def __init__(self, durable: bool = False) -> None:
        self._durable = durable
        self._owner: dict[str, Any] = _unprivileged() if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        try:
            self._make_data()
            self._start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def _make_data(self) -> None:
        if self._owner:
            os.chown(self._folder, self._owner["user"], self._owner["group"])
        subprocess.run(
            [
                str(program("initdb")),
                *("--pgdata", "data", "--username", "postgres", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **self._owner,
        )

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._server = subprocess.Popen(
            [
                str(program("postgres")),
                *("-D", "data", "-h", "127.0.0.1", "-p", str(port), "-k", str(self._folder)),
                *("-c", f"fsync={'on' if self._durable else 'off'}"),
            ],
            cwd=self._folder,
            stderr=subprocess.PIPE,
            text=True,
            **self._owner,
        )
        self._said: deque[str] = deque(maxlen=50)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_SECONDS) or self._server.poll() is not None:
            self._stop()
            raise RuntimeError("PostgreSQL did not start:\n" + "".join(self._said))

    def _read(self) -> None:
        """Until its end: a full pipe would stop the server."""
        assert self._server.stderr is not None
        for line in self._server.stderr:
            self._said.append(line)
            if "ready to accept connections" in line:
                self._ready.set()
        self._ready.set()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A database of its own, by its DSN."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            yield f"{self.dsn.rpartition('/')[0]}/{name}"
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Stop it, without its clients' leave, and remove its data."""
        self._stop()
        shutil.rmtree(self._folder)

    def _stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # the "fast" shutdown
        self._server.wait(START_SECONDS)
        self._reader.join()
        assert self._server.stderr is not None
        self._server.stderr.close()


def _unprivileged() -> dict[str, Any]:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("There is no user to run PostgreSQL as: it refuses to be root's.")


def main(command: list[str]) -> int:
    """Run *command* beside a server."""
    server = Postgres(durable=True)
    try:
        return subprocess.run(command, env=os.environ | {"STORE_DSN": server.dsn}).returncode
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
