"""The quota of CPU time is found where a process's own control group is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scrapy_mpworkers.pool.cpus import cpu_quota, memory_limit

V2 = "30 24 0:26 {group} {place} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 {group} {place} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
OTHER = """22 1 8:1 / / rw - ext4 /dev/sda1 rw
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(root: Path, group: str, mount: str, files: dict[str, str]) -> None:
    """A machine whose process is in *group*, as ``/proc/self/cgroup`` says it."""
    write(root / "proc/self/cgroup", f"{group}\n")
    write(root / "proc/self/mountinfo", f"{OTHER}\n{mount}\n")
    for name, text in files.items():
        if name.endswith("cfs_quota_us"):
            write(root / name.replace("quota", "period"), "100000\n")
        write(root / name, text)


HERE = "sys/fs/cgroup"
UNIT = "0::/system.slice/crawl.service"
TOP2 = V2.format(group="/", place="/sys/fs/cgroup")
TOP1 = V1.format(group="/", place="/sys/fs/cgroup/cpu,cpuacct")
DOCKER1 = V1.format(group="/docker/abc", place="/sys/fs/cgroup/cpu,cpuacct")
QUOTA = "cpu.cfs_quota_us"
MACHINES: dict[str, tuple[str, str, dict[str, str], float | None]] = {
    "a unit": (UNIT, TOP2, {f"{HERE}/system.slice/crawl.service/cpu.max": "150000 100000"}, 1.5),
    "its slice": (
        UNIT,
        TOP2,
        {
            f"{HERE}/system.slice/cpu.max": "50000 100000",
            f"{HERE}/system.slice/crawl.service/cpu.max": "max 100000",
        },
        0.5,
    ),
    "the smaller of both": (
        UNIT,
        TOP2,
        {
            f"{HERE}/system.slice/cpu.max": "400000 100000",
            f"{HERE}/system.slice/crawl.service/cpu.max": "20000 10000",
        },
        2.0,
    ),
    "another unit": (UNIT, TOP2, {f"{HERE}/system.slice/other.service/cpu.max": "1 1"}, None),
    "a container with a namespace": ("0::/", TOP2, {f"{HERE}/cpu.max": "300000 100000"}, 3.0),
    "a group beside the namespace": (
        "0::/../other",
        TOP2,
        {f"{HERE}/cpu.max": "300000 100000", "sys/fs/other/cpu.max": "1 1"},
        3.0,
    ),
    "a container with the host's names": (
        "0::/machine/abc/inner",
        V2.format(group="/machine/abc", place="/sys/fs/cgroup"),
        {f"{HERE}/inner/cpu.max": "max 100000", f"{HERE}/cpu.max": "100000 100000"},
        1.0,
    ),
    "a name that begins alike": (
        "0::/machine/abcdef",
        V2.format(group="/machine/abc", place="/sys/fs/cgroup"),
        {f"{HERE}/def/cpu.max": "1 1", f"{HERE}/cpu.max": "200000 100000"},
        2.0,
    ),
    "a place with a blank": (
        "0::/",
        V2.format(group="/", place="/sys/my\\040groups"),
        {"sys/my groups/cpu.max": "100000 100000"},
        1.0,
    ),
    "version 1": (
        "5:cpuset:/no\n4:cpu,cpuacct:/jobs/crawl",
        TOP1,
        {
            f"{HERE}/cpu,cpuacct/jobs/crawl/{QUOTA}": "-1",
            f"{HERE}/cpu,cpuacct/jobs/{QUOTA}": "250000",
        },
        2.5,
    ),
    "a container of version 1": (
        "4:cpu,cpuacct:/docker/abc",
        DOCKER1,
        {f"{HERE}/cpu,cpuacct/{QUOTA}": "150000"},
        1.5,
    ),
    "both versions": (
        "4:cpu,cpuacct:/crawl\n0::/crawl",
        f"{TOP1}\n{V2.format(group='/', place='/sys/fs/cgroup/unified')}",
        {f"{HERE}/cpu,cpuacct/crawl/{QUOTA}": "200000"},
        2.0,
    ),
    "nonsense": (
        "0::/a\n::\n\n",
        f"{TOP2}\nshort\n - \n",
        {f"{HERE}/a/cpu.max": "many", f"{HERE}/cpu.max": "1 0"},
        None,
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_quota_of_the_own_group_and_of_those_above_it_counts(tmp_path: Path, machine: str) -> None:
    group, mount, files, quota = MACHINES[machine]
    make(tmp_path, group, mount, files)

    assert cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({}, None),
    ],
)
def test_where_nothing_says_what_is_mounted_the_usual_places_are_read(
    tmp_path: Path, files: dict[str, str], cpus: float | None
) -> None:
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)

    assert cpu_quota(tmp_path) == cpus


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A group with a group inside it, and a quota of one CPU."""
    top = Path("/sys/fs/cgroup")
    if (top / "cpu" / QUOTA).exists() or (top / "cpu/cpu.shares").exists():
        outer, name, quota = top / "cpu/mpworkers-test", QUOTA, "100000"
    else:
        outer, name, quota = top / "mpworkers-test", "cpu.max", "100000 100000"
    try:
        (outer / "inner").mkdir(parents=True)
        if not (outer / name).exists():  # a plain folder, or a controller that is off
            pytest.skip("there is no control group for CPUs")
        (outer / name).write_text(quota)
        yield outer / "inner"
    except OSError as error:
        pytest.skip(f"needs the right to make a control group: {error}")
    finally:
        for made in (outer / "inner", outer):
            with contextlib.suppress(OSError):
                made.rmdir()


def test_one_real_cpu_is_one_worker(real_group: Path) -> None:
    script = f"""
import os
from scrapy_mpworkers.pool.cpus import usable_cpus
open({str(real_group / "cgroup.procs")!r}, "w").write(str(os.getpid()))
print(usable_cpus())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("group", "mount", "files", "limit"),
    [
        (UNIT, TOP2, {f"{HERE}/system.slice/crawl.service/memory.max": "1000"}, 1000),
        (
            UNIT,
            TOP2,
            {
                f"{HERE}/system.slice/memory.max": "500",
                f"{HERE}/system.slice/crawl.service/memory.max": "max",
            },
            500,
        ),
        (UNIT, TOP2, {}, None),
        (
            "9:memory:/jobs",
            f"{TOP1}\n{V1.format(group='/', place='/mem').replace('cpu,cpuacct', 'memory')}",
            {"mem/jobs/memory.limit_in_bytes": "700"},
            700,
        ),
    ],
    ids=["a unit", "its slice", "no limit", "version 1"],
)
def test_limit_of_memory(
    tmp_path: Path, group: str, mount: str, files: dict[str, str], limit: float | None
) -> None:
    make(tmp_path, group, mount, files)

    assert memory_limit(tmp_path) == limit
