"""Whatever runs inline runs on a cluster, with the same outcome: tests/system/differential's cases.

The plain run takes one in twenty-four; ``-m full`` all, in every loop mode, and again under TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.differential.case import Case
from system.differential.catalogue import CASES
from system.differential.combos import MODES, Combo
from system.differential.compare import faults
from system.differential.launch import Recording, record
from system.differential.runner import INLINE, OFFLOADED

from .certificates import tls_environment
from .cluster import Cluster

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

PROTOCOLS = ("tcp", "tls")
#: One case in so many is in the plain run, and there on one cluster: its start is what takes time.
EVERY = 24
PLAIN = ("tcp", "asyncio")


def crawls() -> Iterator[ParameterSet]:
    for index, case in enumerate(CASES):
        for protocol in PROTOCOLS:
            for mode in MODES:
                if mode in case.excluded:
                    continue
                is_plain = index % EVERY == 0 and (protocol, mode) == PLAIN
                marks = [] if is_plain else [pytest.mark.full]
                name = f"{case.name}-{protocol}-{mode}"
                yield pytest.param(case, protocol, mode, marks=marks, id=name)


class Recordings:
    """Runs all cases of a protocol and mode on one cluster, when the first is asked for."""

    def __init__(self, folder: Path, selected: list[tuple[Case, str, str]]) -> None:
        self._folder = folder
        self._selected = selected
        self._recorded: dict[tuple[str, str], tuple[dict[str, Recording], list[str]]] = {}

    def of(self, case: Case, protocol: str, mode: str) -> Recording:
        return self.all(protocol, mode)[0][case.name]

    def all(self, protocol: str, mode: str) -> tuple[dict[str, Recording], list[str]]:
        key = protocol, mode
        if key not in self._recorded:
            names = [case.name for case, *others in self._selected if tuple(others) == key]
            self._recorded[key] = self._record(protocol, mode, names)
        return self._recorded[key]

    def _record(
        self, protocol: str, mode: str, names: list[str]
    ) -> tuple[dict[str, Recording], list[str]]:
        folder = self._folder / f"{protocol}-{mode}"
        folder.mkdir()
        environment = tls_environment(folder) if protocol == "tls" else {}
        cluster = Cluster(folder / "cluster", environment=environment, protocol=protocol)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**environment, "DIFFERENTIAL_DASK": cluster.address}.items():
                patch.setenv(name, value)
            try:
                return record(Combo(mode, "dask"), names)
            finally:
                cluster.close()


@pytest.fixture(scope="session")
def recordings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Recordings:
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    selected = [
        (call["case"], call["protocol"], call["mode"])
        for call in calls
        if {"case", "protocol", "mode"} <= call.keys()
    ]
    return Recordings(tmp_path_factory.mktemp("differential"), selected)


@pytest.mark.parametrize(("case", "protocol", "mode"), list(crawls()))
def test_a_crawl_on_a_cluster_has_the_inline_outcome(
    case: Case, protocol: str, mode: str, recordings: Recordings
) -> None:
    recording = recordings.of(case, protocol, mode)
    if recording.problem:
        pytest.fail(recording.report([recording.problem]), pytrace=False)

    found = faults(case, recording.outcomes[INLINE], recording.outcomes[OFFLOADED])
    found += [f"left behind: {one}" for one in recordings.all(protocol, mode)[1]]

    if found:
        pytest.fail(recording.report(found), pytrace=False)
