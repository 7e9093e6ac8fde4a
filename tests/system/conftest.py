"""What tests of whole crawls share: crawls, a web site for them, and a database server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":  # no signals, groups or file locks as these tests use them
    collect_ignore_glob = ["*"]
else:
    from postgres import Postgres, why_not

    from .crawls.harness import Launcher, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server, gone before other tests look for processes that were left behind."""
    if reason := why_not():
        pytest.skip(reason)
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def dsn(server: Postgres) -> Iterator[str]:
    """An empty database."""
    with server.database() as dsn:
        yield dsn
