"""A worker ends as the interpreter of an inline crawl: what pipelines have buffered is written."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from plain import plain_first

from .harness import crawl_project as crawl

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Launcher


BUFFERS = {
    "shop/pipelines.py": """
        import atexit, csv, gzip, logging, logging.handlers, os, tempfile, zipfile

        class Late:
            def __init__(self, name):
                self.name, self.numbers = name, []

            def write(self, open=open):  # when an interpreter ends, builtins may be gone
                with open(self.name, "a") as file:
                    file.writelines(f"{n}\\n" for n in self.numbers)

            def __del__(self):
                self.write()

        class AtExit(Late):
            def __init__(self, name):
                super().__init__(name)
                atexit.register(self.write)

            def __del__(self): ...

        log = logging.getLogger("shop.memory")
        log.propagate = False
        file = logging.FileHandler("memory.txt", delay=True)
        log.addHandler(logging.handlers.MemoryHandler(1000, target=file))
        of_module = open("module.txt", "a")
        packed = gzip.open(f"packed-{os.getpid()}.gz", "wt")
        late, at_exit = Late("late.txt"), AtExit("at_exit.txt")

        class Price:
            def __init__(self):
                self.file = open("object.txt", "a")
                self.csv = csv.writer(open("csv.txt", "a"))
                self.late, self.at_exit = Late("own_late.txt"), AtExit("own_at_exit.txt")
                self.folder = tempfile.TemporaryDirectory(dir="folders")
                self.cycle = self

            def process_item(self, item):
                n = item["n"]
                for file in (of_module, packed, self.file):
                    file.write(f"{n}\\n")
                self.csv.writerow([n])
                log.warning("%d", n)
                for late_one in (late, at_exit, self.late, self.at_exit):
                    late_one.numbers.append(n)
                open(os.path.join(self.folder.name, str(n)), "w").close()
                return item
    """,
    "folders/empty/.keep": "",
}
NAMES = ("module", "object", "csv", "memory", "late", "own_late", "at_exit", "own_at_exit")


@pytest.mark.parametrize("recycled", [True, False], ids=["recycled", "for_good"])
@pytest.mark.parametrize("method", plain_first(["forkserver", "fork", "spawn"], 2))
def test_what_a_pipeline_has_buffered_is_written_once(
    launch: Launcher, tmp_path: Path, method: str, recycled: bool
) -> None:
    folder = tmp_path / "project"

    # A second worker, or a replacement, that nobody needs any more is killed before it has opened
    # its pipelines, with a folder perhaps.
    workers = (
        {"MPWORKERS_WORKERS": 2, "MPWORKERS_WORKER_MAX_ITEMS": 3}
        if recycled
        else {"MPWORKERS_WORKERS": 1}
    )

    ended = crawl(launch, folder, BUFFERS, method, **workers)

    assert ended.numbers == list(range(8)), ended.log
    written = {name: (folder / f"{name}.txt").read_text().split() for name in NAMES}
    packed = [gzip.decompress(one.read_bytes()) for one in folder.glob("packed-*.gz")]
    written["packed"] = b"".join(packed).decode().split()
    assert {name: sorted(map(int, lines)) for name, lines in written.items()} == dict.fromkeys(
        written, list(range(8))
    )
    if not recycled:
        assert [one.name for one in (folder / "folders").iterdir()] == ["empty"]
    assert "Traceback" not in ended.log


BUFFERED_BEFORE = {
    "+shop/spiders.py": """
        import atexit, logging, logging.handlers, os, sys

        head = open("head.txt", "a")
        head.write("head\\n")
        log = logging.getLogger("shop.memory")
        file = logging.FileHandler("memory.txt", delay=True)
        log.addHandler(logging.handlers.MemoryHandler(1000, target=file))
        log.warning("head")
        atexit.register(lambda: os.write(2, f"@left [{os.getpid()}]\\n".encode()))
    """,
}


def test_what_was_buffered_before_a_fork_is_written_by_scrapys_process_alone(
    launch: Launcher, tmp_path: Path
) -> None:
    folder = tmp_path / "project"

    ended = crawl(launch, folder, BUFFERED_BEFORE, "fork")

    assert ended.numbers == list(range(8)), ended.log
    assert (folder / "head.txt").read_text() == "head\n"
    assert (folder / "memory.txt").read_text() == "head\n"
    assert len(ended.told("left")) == 1


def test_what_a_server_has_printed_is_not_printed_again_by_its_workers(
    launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    prints = {
        "+shop/pipelines.py": """
            import os, sys
            if "MPWORKERS_IN_WORKER" in os.environ:
                print("imported")
        """
    }

    ended = crawl(launch, tmp_path / "project", prints, "forkserver")

    assert ended.out.split() == ["imported"], ended.log


FOLDER = {
    "shop/pipelines.py": """
        import atexit, os, shutil, tempfile

        folder = tempfile.mkdtemp(dir="folders")
        atexit.register(shutil.rmtree, folder)

        class Price:
            def process_item(self, item):
                open(os.path.join(folder, str(item["n"])), "w").close()
                return item
    """,
    "folders/empty/.keep": "",
}


def test_an_exit_function_does_not_delete_what_other_workers_use(
    launch: Launcher, tmp_path: Path
) -> None:
    folder = tmp_path / "project"

    ended = crawl(launch, folder, FOLDER, "forkserver", MPWORKERS_WORKER_MAX_ITEMS=2)

    assert ended.numbers == list(range(8)), ended.log
    assert not [one for one in (folder / "folders").iterdir() if (one / "0").exists()]


FAILS = {
    "shop/pipelines.py": """
        import atexit, sys, time

        class Bad:
            def __del__(self):
                raise SystemExit(4)

        bad = Bad()

        class Price:
            def __init__(self, ends=None):
                self.file = open("object.txt", "a")
                atexit.register(sys.exit, 3)
                atexit.register(int, "no number")

            def process_item(self, item):
                self.file.write(f"{item['n']}\\n")
                return item

        class Hangs(Price):
            def __init__(self):
                atexit.register(time.sleep, 1000)
                super().__init__()
    """,
}


@pytest.mark.parametrize("method", plain_first(["forkserver", "fork"]))
def test_an_exit_function_that_fails_changes_nothing(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "project"

    ended = crawl(launch, folder, FAILS, method, MPWORKERS_WORKER_MAX_ITEMS=3)

    assert ended.numbers == list(range(8)), ended.log
    assert sorted(map(int, (folder / "object.txt").read_text().split())) == list(range(8))
    assert "ValueError" in ended.log
    assert "exited with code" not in ended.log
    assert ended.exit_code == 0


def test_an_exit_function_that_hangs_is_ended_when_the_time_to_close_is_over(
    launch: Launcher, tmp_path: Path
) -> None:
    pipelines = {"MPWORKERS_PIPELINES": {"shop.pipelines.Hangs": 300}}

    ended = crawl(
        launch, tmp_path / "project", FAILS, "forkserver", MPWORKERS_CLOSE_TIMEOUT=1, **pipelines
    )

    assert ended.numbers == list(range(8)), ended.log
    assert ended.exit_code == 0
