"""Whatever runs inline runs on a cluster, with the same outcome: tests/system/differential's cases.

The plain run takes one in twenty-four; ``-m full`` all, in every loop mode, and again under TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.differential.case import Case
from system.differential.catalogue import CASES
from system.differential.combos import MODES, Combo
from system.differential.compare import faults
from system.differential.launch import Recording, portion, record
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
    """Runs the cases of a protocol and mode, a portion on one cluster, when one is asked for."""

    def __init__(self, folder: Path, selected: list[tuple[Case, str, str]]) -> None:
        self._folder = folder
        self._selected = selected
        self._recorded: dict[tuple[str, str, str], tuple[dict[str, Recording], list[str]]] = {}

    def of(self, case: Case, protocol: str, mode: str) -> tuple[Recording, list[str]]:
        """Return what was recorded of a case, and what its runners left behind."""
        wanted = protocol, mode
        all_names = [one.name for one, *others in self._selected if tuple(others) == wanted]
        names = portion(all_names, case.name)
        key = protocol, mode, names[0]
        if key not in self._recorded:
            self._recorded[key] = self._record(protocol, mode, names)
        recordings, left_behind = self._recorded[key]
        return recordings[case.name], left_behind

    def _record(
        self, protocol: str, mode: str, names: Sequence[str]
    ) -> tuple[dict[str, Recording], list[str]]:
        folder = self._folder / f"{protocol}-{mode}-{len(self._recorded)}"
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
    recording, left_behind = recordings.of(case, protocol, mode)
    if recording.problem:
        pytest.fail(recording.report([recording.problem]), pytrace=False)

    found = faults(case, recording.outcomes[INLINE], recording.outcomes[OFFLOADED])
    found += [f"left behind: {one}" for one in left_behind]

    if found:
        pytest.fail(recording.report(found), pytrace=False)
