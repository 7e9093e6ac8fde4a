"""Settings: what is read, what is refused, and where the hops are."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from scrapy.settings import Settings

from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.hops import add_hops, hops_of
from scrapy_mpworkers.pipeline import hop_class
from scrapy_mpworkers.settings import (
    _cgroup_quota,
    read_settings,
    thread_variables,
    usable_cpus,
    warn_of_unknown_names,
)


class A: ...


class B: ...


class C: ...


class D: ...


class E: ...


PATHS = [f"{__name__}.{cls.__name__}" for cls in (A, B, C, D, E)]

GOOD = [
    ("WORKERS", "auto", "workers", usable_cpus()),
    ("WORKERS", "3", "workers", 3),
    ("ENABLED", "0", "enabled", False),
    ("START_METHOD", "", "start_method", "forkserver"),
    ("MAX_PENDING", None, "max_pending", max(256, 64 * usable_cpus())),
    ("MAX_PENDING_BYTES", "1000", "max_pending_bytes", 1000),
    ("ITEM_TIMEOUT", 0, "item_timeout", 0.0),
    ("ITEM_TIMEOUT", "2.5", "item_timeout", 2.5),
    ("WORKER_MAX_ITEMS", "1000", "worker_max_items", 1000),
    ("WORKER_MEMORY_LIMIT_MB", 512, "worker_memory_limit_mb", 512),
    ("DEAD_LETTERS", "", "dead_letters", None),
    ("DEAD_LETTERS", "dead.jsonl", "dead_letters", Path("dead.jsonl").absolute()),
    ("JOURNAL", "0", "journal", False),
    ("CLOSE_TIMEOUT", "2.5", "close_timeout", 2.5),
]
BAD = [
    ("ENABLED", "perhaps"),
    ("PIPELINES", ["a.B"]),
    ("PIPELINES", {"a.B": "first"}),
    ("PIPELINES", {3: 300}),
    ("WORKERS", -1),
    ("WORKERS", "many"),
    ("WORKERS", 1.5),
    ("START_METHOD", "thread"),
    ("NICE", 20),
    ("MAX_PENDING", 0),
    ("MAX_PENDING_BYTES", 0),
    ("MAX_PENDING_BYTES", "64 MiB"),
    ("ITEM_TIMEOUT", -1),
    ("ITEM_TIMEOUT", "soon"),
    ("WORKER_MAX_ITEMS", 0.5),
    ("WORKER_MEMORY_LIMIT_MB", "2 GiB"),
    ("DEAD_LETTERS", 7),
    ("JOURNAL", "perhaps"),
    ("JOURNAL", True),  # without a JOBDIR
    ("REDELIVER_TIMES", True),
    ("RESTART_INTENSITY", "x"),
    ("RESTART_PERIOD", 0),
    ("CLOSE_TIMEOUT", "soon"),
]


@pytest.mark.parametrize(("name", "value", "field", "read"), GOOD)
def test_good_values_are_read(name: str, value: Any, field: str, read: Any) -> None:
    options = read_settings(Settings({f"MPWORKERS_{name}": value}))

    assert getattr(options, field) == read


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_get_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings(Settings({f"MPWORKERS_{name}": value}))

    sentence = str(refused.value)
    assert sentence.startswith(f"MPWORKERS_{name} is {value!r}, but it must be ")
    assert "\n" not in sentence


def test_an_unknown_name_is_warned_of_with_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unknown_names(Settings({"MPWORKERS_WORKER": 3}))

    assert "Did you mean MPWORKERS_WORKERS?" in caplog.text


def test_native_threads_share_the_cpus_unless_the_user_has_set_them() -> None:
    variables = thread_variables(1000, {"OMP_NUM_THREADS": "7"})

    assert "OMP_NUM_THREADS" not in variables
    assert variables["OPENBLAS_NUM_THREADS"] == "1"


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
def test_the_cgroup_bounds_the_cpus(
    tmp_path: Path, files: dict[str, str], cpus: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert _cgroup_quota(tmp_path) == cpus


def line_of(reactor: dict[str, int], offloaded: dict[str, int]) -> list[str]:
    """The pipelines in the order in which an item meets them."""
    settings = Settings({"ITEM_PIPELINES": reactor, "MPWORKERS_PIPELINES": offloaded})
    options = read_settings(settings)
    add_hops(settings, options, hop_class)
    hops = list(hops_of(settings, options))
    placed = sorted(settings.getdict("ITEM_PIPELINES").items(), key=lambda pair: pair[1])
    line: list[str] = []
    for entry, _ in placed:
        line += [entry] if isinstance(entry, str) else hops.pop(0)
    return line


def test_a_run_of_offloaded_neighbours_is_one_hop() -> None:
    settings = Settings(
        {
            "ITEM_PIPELINES": {PATHS[0]: 100, PATHS[3]: 400},
            "MPWORKERS_PIPELINES": {PATHS[1]: 200, PATHS[2]: 300, PATHS[4]: 500},
        }
    )
    options = read_settings(settings)

    add_hops(settings, options, hop_class)

    assert hops_of(settings, options) == ((PATHS[1], PATHS[2]), (PATHS[4],))


@pytest.mark.parametrize("places", list(product([0, 1], repeat=4)))
def test_moving_an_entry_between_the_settings_never_changes_the_order(
    places: tuple[int, ...],
) -> None:
    sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for number, side in enumerate(places):
        sides[side][PATHS[number]] = 100 * number

    assert line_of(*sides) == PATHS[:4]


def test_a_pipeline_in_both_settings_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\.A is in both"):
        line_of({PATHS[0]: 100}, {PATHS[0]: 200})


def test_a_hop_placed_by_hand_takes_all_pipelines() -> None:
    settings = Settings(
        {
            "ITEM_PIPELINES": {"scrapy_mpworkers.WorkerPipeline": 300, PATHS[0]: 100},
            "MPWORKERS_PIPELINES": {PATHS[1]: 50, PATHS[2]: 900},
        }
    )
    options = read_settings(settings)

    add_hops(settings, options, hop_class)

    assert hops_of(settings, options) == ((PATHS[1], PATHS[2]),)
