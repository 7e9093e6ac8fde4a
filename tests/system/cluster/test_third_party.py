"""The backend of docs/backends.md, registered as its reader would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from system.crawls.harness import Crawl

from .cluster import Cluster

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

DOCS = Path(__file__).parents[3] / "docs/backends.md"


def install(folder: Path) -> str:
    """Lay the example down as a package that pip has installed would be; returns its code."""
    text = DOCS.read_text("utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [(group, entry)] = re.findall(r'^\[project\.entry-points\."(.*)"\]\n(.*)$', text, re.MULTILINE)
    metadata = folder / "mixed-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "mixed.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mixed\nVersion: 1.0\n")
    entry = entry.replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return str(code)


@pytest.mark.full
def test_a_third_party_has_a_backend_of_forty_lines(
    crawl: Callable[..., Crawl],
    make_cluster: Callable[..., Cluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    cluster = make_cluster(workers=1)
    levels = [
        {"name": "compute", "pipelines": {"system.cluster.work.Mark": 300}},
        {"name": "store", "pipelines": {"system.cluster.work.Adds": 400}, "workers": 1},
    ]

    ended = crawl(
        MPWORKERS_BACKEND="mixed",
        MPWORKERS_LEVELS=levels,
        MPWORKERS_DASK_ADDRESS=cluster.address,
        CLUSTER_LEVELS=["compute"],
        ITEMS=20,
    ).finish()

    assert len(code.splitlines()) <= 40
    assert ended.numbers == list(range(1, 21))
    [there] = {item["pid"] for item in ended.items}
    [here] = {item["adder"] for item in ended.items}
    assert there in cluster.worker_pids()
    assert here not in cluster.worker_pids()
