"""What the Dask backend cannot do is refused when the crawl starts, by name."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from scrapy import Spider
from scrapy.utils.test import get_crawler

from scrapy_mpworkers import SettingError, WorkerExtension
from scrapy_mpworkers.wire.exceptions import unpack_exception
from scrapy_mpworkers.wire.worker_codec import WorkerCodec

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

PIPELINE = "system.cluster.work.Mark"
KEYED = {"name": "dedupe", "pipelines": {PIPELINE: 300}, "key": "site"}


class Quiet(Spider):
    name = "quiet"


def make_extension(**settings: Any) -> WorkerExtension:
    common = {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_BACKEND": "dask",
    }
    if "MPWORKERS_LEVELS" not in settings:
        common["MPWORKERS_PIPELINES"] = {PIPELINE: 300}
    crawler = get_crawler(Quiet, {**common, **settings})
    return WorkerExtension.from_crawler(crawler)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("MPWORKERS_START_METHOD", "fork", "multiprocessing-method"),
        ("MPWORKERS_NICE", 10, "nice"),
        ("MPWORKERS_WORKER_MAX_ITEMS", 1000, "--lifetime"),
        ("MPWORKERS_WORKER_MEMORY_LIMIT_MB", 512, "--memory-limit"),
    ],
)
def test_what_dask_does_itself_is_refused_by_name(name: str, value: Any, instead: str) -> None:
    with pytest.raises(SettingError) as refused:
        make_extension(**{name: value})

    sentence = str(refused.value)
    assert sentence.startswith(f"{name} is {value!r}, but the Dask backend cannot do that: ")
    assert instead in sentence
    assert "\n" not in sentence


def test_it_is_refused_in_a_level_as_well() -> None:
    level = {"name": "compute", "pipelines": {PIPELINE: 300}, "worker_max_items": 100}

    for levels in ([level], json.dumps([level])):  # as -s gives them
        with pytest.raises(SettingError, match="MPWORKERS_WORKER_MAX_ITEMS is 100"):
            make_extension(MPWORKERS_LEVELS=levels)


def test_limits_that_are_off_are_no_wish() -> None:
    make_extension(MPWORKERS_NICE=0, MPWORKERS_WORKER_MAX_ITEMS=0)


def test_keys_need_a_number_of_workers_on_a_cluster_of_any_size() -> None:
    address = {"MPWORKERS_DASK_ADDRESS": "tcp://127.0.0.1:8786"}

    with pytest.raises(SettingError, match="'dedupe' has a key, so on a cluster it needs"):
        make_extension(MPWORKERS_LEVELS=[KEYED], **address)
    make_extension(MPWORKERS_LEVELS=[{**KEYED, "workers": 2}], **address)


def test_a_backend_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrapy_mpworkers.backends.dask.backend.find_spec", lambda name: None)

    with pytest.raises(SettingError, match=r"pip install 'scrapy-mpworkers\[dask\]'"):
        make_extension()


def test_a_frozen_program_does_not_run_itself_as_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    with pytest.raises(SettingError, match="set it to the address of a cluster, or name"):
        make_extension()
    make_extension(MPWORKERS_DASK_ADDRESS="tcp://127.0.0.1:8786")


def test_without_dask_everything_else_works() -> None:
    code = (
        "import sys; sys.modules['distributed'] = sys.modules['dask'] = None; "
        "import pkgutil, importlib, scrapy_mpworkers; "
        "names = [one.name for one in pkgutil.walk_packages("
        "scrapy_mpworkers.__path__, 'scrapy_mpworkers.')]; "
        "dask = ('dask.plugin', 'local_cluster'); "
        "[importlib.import_module(name) for name in names if not name.endswith(dask)]"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_module_that_the_cluster_lacks_is_told_with_the_setting_that_sends_it() -> None:
    from scrapy_mpworkers.backends.dask.worker_logs import describe

    codec = WorkerCodec()

    failure = codec.load(describe(ModuleNotFoundError("No module named 'shop'", name="shop")))

    error = unpack_exception(failure, codec.load)
    assert isinstance(error, ModuleNotFoundError)
    assert str(error).startswith("No module named 'shop'; MPWORKERS_DASK_UPLOAD sends")
