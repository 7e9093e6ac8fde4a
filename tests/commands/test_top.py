"""``scrapy mpworkers top`` and ``stacks``: which crawls they find, and what they print of them."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from status.harness import EVENT, LEVEL, SNAPSHOT, WORKER, Drawn, Served
from system.crawls.harness import SCRAPY, Ended, Launcher, World

from scrapy_mpworkers.commands.frames import duration, frame, size
from scrapy_mpworkers.commands.pages import PageClient, PageClosed, PageError, find_pages, of_spider

WORLD = World("asyncio", "forkserver")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


def run(launch: Launcher, *words: str) -> Ended:
    return launch.scrapy("mpworkers", *words, world=WORLD).finish()


def drawn(crawl: dict[str, Any], width: int = 120, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(crawl, **options))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


# What a frame shows


def test_a_frame_has_the_crawl_its_levels_workers_and_events() -> None:
    head, verdict, level, counts, _, columns, first, second, _, event = drawn(SNAPSHOT)

    assert head == "books  running  12 s  pid 4700"
    assert verdict == "Workers are the limit."
    assert level == "███████████████░░░░░ 75% busy  90/min  2 of 64 pending (300 B)"
    assert counts == ("8 items: 5 done 1 dropped  wait 0.1 s, p95 0.2 s  service 0.1 s, p95 0.2 s")
    assert columns.split() == [
        *("worker", "pid", "state", "for", "at", "settled", "restarts", "CPU", "memory")
    ]
    assert first.split() == [
        *("worker-1", "4711", "busy", "1.5", "s", "http://a/7", "6", "1", "50%", "1.0", "MiB")
    ]
    assert second.split() == ['worker-"2"', "4711", "idle", "6", "1", "1.0", "MiB"]
    assert event.endswith(" worker-1 was ended by SIGKILL  http://a/3")


def test_what_is_not_known_yet_leaves_a_gap() -> None:
    worker = WORKER | {"pid": None, "state": "starting", "task": None, "rss_bytes": None}
    level = LEVEL | {"wait": None, "service": None, "workers": [worker | {"cpu_percent": None}]}

    lines = drawn(SNAPSHOT | {"levels": [level], "events": [], "verdict": ""})

    assert lines[3] == "8 items: 5 done 1 dropped"
    assert lines[-1].split() == ["worker-1", "-", "starting", "6", "1"]


def test_calls_a_full_level_and_the_brake_are_told() -> None:
    level = LEVEL | {"name": "store", "calls": LEVEL["items"], "at_the_door": 3}

    lines = drawn(SNAPSHOT | {"levels": [level | {"is_braking": True}]})

    assert lines[2].startswith("store ██")
    assert lines[2].endswith("(300 B), 3 wait for room, downloads wait")
    assert "  8 calls: 5 done 1 dropped  " in lines[3]


def test_without_room_those_are_shown_that_are_at_it_longest() -> None:
    workers = [
        WORKER | {"name": f"worker-{n}", "task": WORKER["task"] | {"seconds": float(n)}}
        for n in range(64)
    ]

    lines = drawn(SNAPSHOT | {"levels": [LEVEL | {"workers": workers}]}, 80, height=20)

    assert len(lines) <= 20
    assert lines[6].split()[0] == "worker-63"
    assert any(line.startswith("and 5") and line.endswith(" more") for line in lines)
    assert max(map(len, lines)) <= 80


def test_nothing_in_a_picture_commands_the_terminal() -> None:
    evil = "\x1b]0;title\x07 [red]x[/red] \n\r\x9b2J"
    task = WORKER["task"] | {"label": evil}
    level = LEVEL | {"name": evil, "workers": [WORKER | {"name": evil, "task": task}]}
    events = [EVENT | {"text": evil, "label": evil}]

    text = "\n".join(
        drawn(SNAPSHOT | {"spider": evil, "verdict": evil, "levels": [level], "events": events})
    )

    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(text)
    assert "[red]x[/red]" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0042, "0.0042 s"), (0.42, "0.42 s"), (12.3, "12 s"), (185, "3:05"), (7385, "2:03:05")],
)
def test_a_time_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (84 << 20, "84 MiB"), (5 << 40, "5120 GiB")],
)
def test_a_size_has_its_unit(count: int, text: str) -> None:
    assert size(count) == text


# Which crawls


def test_once_prints_a_frame_of_each_crawl_that_is_found(served: Served, launch: Launcher) -> None:
    crawls = [Drawn(), Drawn(spider="films")]
    [page, _] = [served.open(crawl) for crawl in crawls]

    all_of_them = run(launch, "top", "--once")
    one = run(launch, "top", "films", "--once", "--url", page.url)
    with pytest.raises(PageClosed) as none:
        of_spider(find_pages(None), "/snapshot.json", "music")

    for crawl in crawls:
        served.call(page.leave, crawl)
    heads = [line for line in all_of_them.out.splitlines() if "  running  " in line]
    assert [head.split()[0] for head in heads] == ["books", "films"]
    assert [line for line in one.out.splitlines() if "  running  " in line] == heads[1:]
    assert all_of_them.exit_code == one.exit_code == 0
    assert str(none.value) == "no crawl of the spider 'music' with MPWORKERS_PAGE is running"


def test_stacks_are_printed_worker_by_worker(served: Served, launch: Launcher) -> None:
    class Asked(Drawn):
        async def stacks(self) -> dict[str, str]:
            return {"worker-1": 'File "x.py", line 7\n  spin()\x1b[2J', "worker-2": ""}

    crawl = Asked()
    page = served.open(crawl)

    ended = run(launch, "stacks")

    served.call(page.leave, crawl)
    assert ended.out.splitlines() == [
        "books, worker-1:",
        '  File "x.py", line 7',
        "    spin()\N{REPLACEMENT CHARACTER}[2J",
        "",
        "books, worker-2:",
        "  It does not answer.",
        "",
    ]


def test_without_a_crawl_one_sentence_says_so(launch: Launcher) -> None:
    ended = run(launch, "top")

    assert ended.exit_code == 2
    [line] = ended.log.splitlines()
    assert line == "scrapy mpworkers top: no crawl with MPWORKERS_PAGE is running"


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:6080", "http://127.0.0.1:6080/", "http://a:x/#t", "http://[::1:6080/#t", ""],
)
def test_an_address_without_port_or_token_is_refused(url: str) -> None:
    with pytest.raises(PageError, match="is no address of a page"):
        find_pages(url)


def test_a_page_says_why_it_gives_nothing(served: Served) -> None:
    crawl = Drawn()
    page = served.open(crawl)

    with pytest.raises(PageError, match="answers: The token is missing or wrong"):
        PageClient(page.url + "x").get("/snapshot.json")
    served.call(page.leave, crawl)
    with pytest.raises(PageClosed, match="is closed: "):
        PageClient(page.url).get("/snapshot.json")


def test_without_rich_the_command_says_what_to_install(
    served: Served, launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\")")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    crawl = Drawn()
    page = served.open(crawl)

    ended = run(launch, "top", "--once")

    served.call(page.leave, crawl)
    assert ended.exit_code == 2
    assert ended.log.endswith("No module named 'rich': pip install 'scrapy-mpworkers[top]'")


# In a terminal


class Terminal:
    """A terminal in which ``top`` runs."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, SCRAPY, "mpworkers", "top"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "LINES": "30"},
            start_new_session=True,
        )
        os.close(theirs)
        self._read = b""

    def wait_for(self, text: str) -> None:
        """Read until *text* comes, and forget what was before."""
        while text.encode() not in self._read:
            self._read += os.read(self._ours, 65536)
        self._read = self._read.partition(text.encode())[2]

    def rest(self) -> bytes:
        """All that comes before the other end is closed."""
        with contextlib.suppress(OSError):
            while more := os.read(self._ours, 65536):
                self._read += more
        return self._read

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def leave(served: Served) -> Iterator[Callable[[], None]]:
    """Two crawls with a page, and what ends them."""
    crawls = [Drawn(), Drawn(spider="films")]
    pages = [served.open(crawl) for crawl in crawls]

    def leave() -> None:
        for page, crawl in zip(pages, crawls, strict=True):
            served.call(page.leave, crawl)

    yield leave
    leave()


@pytest.fixture
def terminal(leave: Callable[[], None]) -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_keys_go_to_the_next_crawl_and_end(terminal: Terminal) -> None:
    terminal.wait_for("crawl 1 of 2")

    terminal.press("n")
    terminal.wait_for("films")
    terminal.press("n")
    terminal.wait_for("books")
    terminal.press("q")

    assert terminal.process.wait(20) == 0


def test_it_ends_with_the_last_crawl(leave: Callable[[], None], terminal: Terminal) -> None:
    terminal.wait_for("crawl 1 of 2")

    leave()

    terminal.wait_for("The crawl is over.")

    assert terminal.process.wait(20) == 0


def test_ctrl_c_ends_without_a_traceback(terminal: Terminal) -> None:
    terminal.wait_for("crawl 1 of 2")

    terminal.process.send_signal(2)

    assert terminal.process.wait(20) == 0
    assert b"Traceback" not in terminal.rest()
