from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from system.crawls.harness import MODES, Crawl, Launcher

from .cluster import Cluster

SCRIPT = Path(__file__).parent / "script.py"


@dataclass(frozen=True)
class Mode:
    """A loop mode; the start of workers is Dask's."""

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return MODES[self.name]


@pytest.fixture
def crawl(launch: Launcher, tmp_path: Path) -> Callable[..., Crawl]:
    """Starts the script with a pipeline of ``system.cluster.work`` and some settings."""

    def start(*names: str, mode: str = "asyncio", **settings: Any) -> Crawl:
        if "GATE" in settings:  # as for held crawls of one machine
            settings = {"MPWORKERS_MAX_PENDING": 256} | settings
        pipelines = {f"system.cluster.work.{name}": 300 + n for n, name in enumerate(names)}
        own = {"MPWORKERS_PIPELINES": pipelines} if names else {}
        world: Any = Mode(mode)
        return launch.start([SCRIPT], tmp_path, world=world, **own, **settings)

    return start


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster{len(made)}", **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
