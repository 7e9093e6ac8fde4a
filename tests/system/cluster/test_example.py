"""The example project runs on a cluster by settings alone, and its package comes with it."""

from __future__ import annotations

import functools
import os
import pydoc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from .cluster import Cluster

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

PROJECT = Path(__file__).parents[3] / "example_project"
MODULES = ("bisect", "heapq", "sched", "textwrap", "fnmatch", "posixpath", "ntpath")

if find_spec("trafilatura") is None:
    pytest.skip("needs the extra 'example'", allow_module_level=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Some pages of the documentation, on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    for module in MODULES:
        found, name = pydoc.resolve(module)
        page = pydoc.html.page(pydoc.describe(found), pydoc.html.document(found, name))
        (folder / f"{module}.html").write_text(page)
    links = "".join(f'<a href="{module}.html">{module}</a>' for module in MODULES)
    (folder / "index.html").write_text(f"<main>{links}</main>")
    handler = functools.partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def crawl(site: str, index: Path, *settings: str) -> list[tuple[object, ...]]:
    command = [sys.executable, "-m", "scrapy", "crawl", "pydocs", "-a", f"site={site}"]
    for setting in (f"STORE_DSN={index}", *settings):
        command += ["-s", setting]
    environment = {name: value for name, value in os.environ.items() if name != "STORE_DSN"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    connection = sqlite3.connect(index)
    rows = connection.execute("SELECT module, title, keywords, text FROM pages ORDER BY module")
    found = rows.fetchall()
    connection.close()
    return found


@pytest.mark.full
def test_the_example_runs_on_a_cluster_by_settings_alone(
    site: str, make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster()
    inline = crawl(site, tmp_path / "inline.sqlite", "MPWORKERS_ENABLED=False")

    on_cluster = crawl(
        site,
        tmp_path / "cluster.sqlite",
        "MPWORKERS_BACKEND=dask",
        f"MPWORKERS_DASK_ADDRESS={cluster.address}",
        "MPWORKERS_DASK_UPLOAD=pydocs",
    )

    of_its_own = crawl(site, tmp_path / "own.sqlite", "MPWORKERS_BACKEND=dask")

    assert [row[0] for row in on_cluster] == sorted(MODULES)
    assert on_cluster == inline
    assert of_its_own == inline
