"""Job files: private, gone with their page or with the next look, and nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from scrapy_mpworkers.errors import NotPrivateError
from scrapy_mpworkers.status import jobs
from scrapy_mpworkers.status.jobs import Job

from .harness import Drawn, Served

URL = "http://127.0.0.1:6080/#token"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "scrapy-mpworkers"


def put(folder: Path, job: Job, name: str | None = None) -> Path:
    path = folder / (name or f"{job.pid}-1.json")
    path.write_text(json.dumps(asdict(job)))
    path.chmod(0o600)
    return path


def test_a_page_has_a_private_file_as_long_as_it_is_open(served: Served, folder: Path) -> None:
    crawl = Drawn()
    page = served.open(crawl)

    [job] = jobs.running()
    [path] = folder.iterdir()
    modes = folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777
    served.call(page.leave, crawl)

    assert (job.url, job.pid) == (page.url, os.getpid())
    assert modes == (0o700, 0o600)
    assert list(folder.iterdir()) == []


def test_files_of_dead_processes_are_removed_by_the_next_look_and_the_next_page(
    folder: Path,
) -> None:
    own = jobs.announce(URL, 6080)
    [job] = jobs.running()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = replace(job, pid=dead.pid)
    another_now_has_its_pid = replace(job, born=job.born - 60)

    for look in (lambda: list(jobs.running()), lambda: jobs.announce(URL, 6081).unlink()):
        put(folder, stale)
        put(folder, another_now_has_its_pid)
        look()
        assert list(folder.iterdir()) == [own]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the clock tells")
def test_a_crawl_is_alive_though_the_clock_has_been_set_since(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = jobs.announce(URL, 6080)
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600)

    [job] = jobs.running()

    assert job.pid == os.getpid()
    assert own.exists()


def test_jobs_of_another_machine_are_let_alone(folder: Path) -> None:
    own = jobs.announce(URL, 6080)
    [job] = jobs.running()
    other = put(folder, replace(job, pid=1 << 30, host="elsewhere"))

    assert list(jobs.running()) == [job]
    assert sorted(folder.iterdir()) == sorted([own, other])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', "\x00"])
def test_what_is_no_job_is_skipped(folder: Path, text: str) -> None:
    jobs.announce(URL, 6080)
    (folder / "1-1.json").write_text(text)

    assert len(list(jobs.running())) == 1


def test_a_file_that_others_could_have_written_is_skipped(folder: Path, tmp_path: Path) -> None:
    jobs.announce(URL, 6080)
    [job] = jobs.running()
    put(folder, job, "written-by-all.json").chmod(0o666)
    put(tmp_path, job, "elsewhere.json")
    (folder / "link.json").symlink_to(tmp_path / "elsewhere.json")
    if os.geteuid() == 0:
        os.chown(put(folder, job, "not-ours.json"), 12345, 12345)

    assert list(jobs.running()) == [job]


def test_a_folder_that_others_can_look_into_gets_no_token(
    served: Served, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)

    with pytest.raises(NotPrivateError, match=f"chmod 700 {folder}"):
        jobs.announce(URL, 6080)
    crawl = Drawn()
    caplog.set_level("INFO")
    page = served.open(crawl)
    served.call(page.leave, crawl)

    assert list(folder.iterdir()) == []
    assert "scrapy mpworkers top finds this crawl by --url only" in caplog.text
