"""``scrapy mpworkers check``: the whole picture, nothing run, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plain import plain_first
from scrapy import Spider
from scrapy.settings import Settings
from system.crawls.harness import PROJECT, Ended, Launcher, World

from scrapy_mpworkers.commands.check import check_settings
from scrapy_mpworkers.commands.findings import findings
from scrapy_mpworkers.validators import backends

WORLD = World("asyncio", "forkserver")


def check(launch: Launcher, *arguments: str, cwd: Path = PROJECT, **settings: Any) -> Ended:
    words = ("mpworkers", "check", *arguments)
    return launch.scrapy(*words, cwd=cwd, world=WORLD, **settings).finish()


def listed(*names: str) -> dict[str, Any]:
    paths = [name if "." in name else f"teaching.{name}" for name in names]
    return {"MPWORKERS_PIPELINES": {f"crawled.{one}": 300 + n for n, one in enumerate(paths)}}


def test_the_number_line_is_printed_in_order_with_hops_and_levels(launch: Launcher) -> None:
    compute = {"name": "compute", "pipelines": {"crawled.teaching.Computes": 300}}
    once = {"name": "once", "workers": 1, "wait": False}
    once["pipelines"] = {"crawled.teaching.Duplicates": 500}
    ended = check(
        launch,
        "start",
        MPWORKERS_LEVELS=[once, compute | {"key": "n"}],
        ITEM_PIPELINES={"crawled.pipelines.Slow": 400},
    )

    assert ended.out.splitlines() == [
        "Checked: the settings of the spider start",
        "",
        "        hop 1: level compute, 2 workers, key n",
        "   300    crawled.teaching.Computes",
        "            touches     settings['BOT_NAME'], signals.spider_opened, spider.name, stats",
        "            placement   as it is",
        "   400  crawled.pipelines.Slow  in Scrapy's process",
        "        hop 2: level once, 1 worker, the crawl does not wait for it",
        "   500    crawled.teaching.Duplicates",
        "            touches     neither crawler nor spider",
        "            placement   as it is",
        "",
        "In a worker nothing would fail, 0 warnings.",
    ]
    assert ended.exit_code == 0


def test_warnings_alone_do_not_fail(launch: Launcher) -> None:
    ended = check(launch, **listed("Duplicates"))

    assert "warning     crawled.teaching.Duplicates remembers in self.seen" in ended.out
    assert 'placement   a level of its own with "workers": 1 (or a "key")' in ended.out
    assert "nothing would fail, 1 warning." in ended.out
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("name", "part"),
    plain_first(
        [
            ("pipelines.UsesEngine", "crawler.engine.download: only Scrapy's own process has it"),
            ("pipelines.Files", "downloads through the crawl's engine"),
            ("unimportable.X", "ModuleNotFoundError"),
            ("teaching.Missing", "crawled.teaching.Missing"),
            (
                "teaching.HearsOfItems",
                "signals.item_scraped: this signal is never sent in a worker",
            ),
        ],
        2,
    ),
)
def test_what_would_fail_is_named_and_exits_with_1(launch: Launcher, name: str, part: str) -> None:
    ended = check(launch, **listed("Computes", name))

    assert part in " ".join(ended.out.split())
    assert ended.exit_code == 1


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({}, "list no pipeline"),
        ({"ADDONS": {}, **listed("Computes")}, "scrapy_mpworkers.Addon"),
        (
            {
                "ADDONS": {},
                "ITEM_PIPELINES": {"scrapy_mpworkers.WorkerPipeline": 300},
                **listed("Computes"),
            },
            "WorkerExtension is not active",
        ),
        ({"MPWORKERS_WORKERS": "many", **listed("Computes")}, "MPWORKERS_WORKERS is 'many'"),
        (
            {"ITEM_PIPELINES": {"crawled.teaching.Computes": 1}, **listed("Computes")},
            "in both ITEM_PIPELINES and MPWORKERS_PIPELINES",
        ),
        (
            {
                "MPWORKERS_LEVELS": [
                    {
                        "name": "store",
                        "batch_size": 9,
                        "pipelines": {"crawled.teaching.Computes": 1},
                    }
                ]
            },
            "has process_batch",
        ),
    ],
    ids=["nothing", "no add-on", "no extension", "value", "twice", "no batch"],
)
def test_settings_that_cannot_work_exit_with_1(
    launch: Launcher, settings: dict[str, Any], part: str
) -> None:
    ended = check(launch, "start", **settings)

    assert part in " ".join(ended.out.split())
    assert ended.exit_code == 1


def test_a_spiders_own_settings_count_when_it_is_named(launch: Launcher) -> None:
    ended = check(launch, "taught")

    assert "Checked: the settings of the spider taught" in ended.out
    assert "crawled.teaching.Duplicates" in ended.out
    assert ended.exit_code == 0


def test_the_only_spider_need_not_be_named(launch: Launcher) -> None:
    ended = check(launch, SPIDER_MODULES=["crawled.taught"])

    assert "Checked: the settings of the spider taught" in ended.out


@pytest.mark.parametrize(
    "arguments", [("nobody",), pytest.param(("one", "two"), marks=pytest.mark.full)]
)
def test_wrong_use_exits_with_2(launch: Launcher, arguments: tuple[str, ...]) -> None:
    assert check(launch, *arguments).exit_code == 2


def test_outside_a_project_it_says_where_to_run(launch: Launcher, tmp_path: Path) -> None:
    ended = check(launch, cwd=tmp_path)

    assert "inside the Scrapy project" in ended.log
    assert ended.exit_code == 2


def test_where_workers_are_off_it_says_so(launch: Launcher) -> None:
    ended = check(launch, MPWORKERS_ENABLED=False, **listed("Duplicates"))

    assert "MPWORKERS_ENABLED is False" in ended.out
    assert "crawled.teaching.Duplicates  in Scrapy's process" in ended.out
    assert ended.exit_code == 0


def test_no_pipeline_is_built_and_no_reactor_imported() -> None:
    code = (
        "import atexit, sys\n"
        "from scrapy.cmdline import execute\n"
        "atexit.register(lambda: print('reactor:', 'twisted.internet.reactor' in sys.modules))\n"
        "execute(['scrapy', 'mpworkers', 'check'])\n"
    )
    settings = json.dumps(listed("pipelines.RaisesInFromCrawler"))

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"CRAWL_SETTINGS": settings},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "nothing would fail" in done.stdout
    assert "reactor: False" in done.stdout
    assert done.returncode == 0


# What stops a crawl at its start: in this process, as nothing of it is started

COMPUTES: dict[str, Any] = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_WORKERS": 2,
    "MPWORKERS_PIPELINES": {"scrapy_mpworkers.batches.BatchMixin": 300},
}


def failures(**settings: Any) -> str:
    return "\n".join(check_settings(Settings(COMPUTES | settings), Spider).failures)


def test_a_crawl_that_would_start_has_no_failures(tmp_path: Path) -> None:
    letters, jobdir = tmp_path / "a/dead.jl", tmp_path / "job"
    settings = {"MPWORKERS_JOURNAL": True, "JOBDIR": str(jobdir)}

    assert failures(MPWORKERS_DEAD_LETTERS=str(letters), **settings) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"MPWORKERS_BACKEND": "nomad"}, ["MPWORKERS_BACKEND is 'nomad'", "dask", "local"]),
        ({"MPWORKERS_JOURNAL": True}, ["MPWORKERS_JOURNAL", "JOBDIR"]),
        ({"MPWORKERS_BACKEND": "dask", "MPWORKERS_NICE": 9}, ["MPWORKERS_NICE is 9", "Dask"]),
        ({"MPWORKERS_DEAD_LETTERS": "/dev/null/dead.jl"}, ["MPWORKERS_DEAD_LETTERS", "cannot"]),
        ({"MPWORKERS_DEAD_LETTERS": "/dev/zero"}, ["MPWORKERS_DEAD_LETTERS", "regular file"]),
        ({"ADDONS": {"commands.test_check.Breaks": 1}}, ["RuntimeError: not today"]),
        ({"MPWORKERS_INITIALIZER": "shop.begin"}, ["is 'shop.begin'", "ModuleNotFoundError"]),
    ],
    ids=[
        *("unknown backend", "journal", "of dask", "below a file", "device", "other add-on"),
        "initializer",
    ],
)
def test_what_stops_a_crawl_at_its_start_is_found(
    settings: dict[str, Any], parts: list[str]
) -> None:
    for part in parts:
        assert part in failures(**settings)


class Breaks:
    def update_settings(self, settings: Any) -> None:
        raise RuntimeError("not today")


def test_a_backend_whose_package_is_not_installed_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    assert "dask.distributed is not installed" in failures(MPWORKERS_BACKEND="dask")


@pytest.mark.parametrize("files", [{}, {"CA_FILE": "no.pem"}], ids=["none named", "not there"])
def test_a_cluster_whose_certificates_cannot_be_used_is_found(
    files: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    import dask

    named = {f"distributed.comm.tls.{n.lower()}": str(tmp_path / f) for n, f in files.items()}
    address = "tls://127.0.0.1:8786"
    with dask.config.set(named):  # type: ignore[attr-defined]
        found = failures(MPWORKERS_BACKEND="dask", MPWORKERS_DASK_ADDRESS=address)

    assert f"MPWORKERS_DASK_ADDRESS is {address!r}" in found
    assert "certificates" in found


def test_whatever_a_backend_of_others_raises_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "poor-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: poor\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[scrapy_mpworkers.backends]\nraises = poor:raises\nexits = poor:exits\n"
        "missing = poor:missing\n"
    )
    (tmp_path / "poor.py").write_text(
        "def raises(*_): raise KeyError('region')\ndef exits(*_): raise SystemExit('no key')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    backends.cache_clear()
    try:
        found = {name: failures(MPWORKERS_BACKEND=name) for name in ("raises", "exits", "missing")}
    finally:
        backends.cache_clear()

    assert "MPWORKERS_BACKEND is 'raises'" in found["raises"]
    assert "KeyError: 'region'" in found["raises"]
    assert "SystemExit: no key" in found["exits"]
    assert "missing" in found["missing"]


def test_a_journal_that_cannot_be_opened_is_found_and_left_as_it_is(tmp_path: Path) -> None:
    journal = tmp_path / "mpworkers-journal.sqlite"
    journal.write_bytes(b"not a database, " * 64)
    journal.chmod(0o600)
    before = journal.stat()

    found = failures(MPWORKERS_JOURNAL=True, JOBDIR=str(tmp_path))

    assert f"the journal {journal} cannot be used" in found
    assert journal.stat().st_mtime_ns == before.st_mtime_ns
    assert list(tmp_path.iterdir()) == [journal]


def test_a_pipeline_beside_the_workers_that_cannot_be_imported_is_found() -> None:
    settings = Settings(COMPUTES | {"ITEM_PIPELINES": {"no_such_shop.pipelines.Store": 900}})

    check = check_settings(settings, Spider)

    assert check.would_fail == 1
    assert "No module named 'no_such_shop'" in findings(check, "these settings")
