from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":  # no user and group to run a server as
    collect_ignore_glob = ["*"]
else:
    from crawls.conftest import launch  # noqa: F401 - fixtures
    from postgres import Postgres, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


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
