"""Starts real crawls and watches them from outside: what they log, what they leave, how they end.

A crawl's processes are known by a variable in their environment, which outlives re-parenting, so
that an orphan is found too. Every wait is for an event and has the crawl's deadline; a crawl that
misses it dumps the tracebacks of all its processes and fails its test.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

import psutil
import pytest
import zygote
from exits import await_exits
from projects import make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
PROJECT = HERE / "project"
SCRIPTS = HERE / "scripts"
SCRAPY = Path(sysconfig.get_path("scripts")) / "scrapy"

BOOKS = r"mpworkers/(.+/)?(items|hops/\d+)/submitted$"
"""Stats that are the sum of what became of so many items."""

DEADLINE = 60.0
"""Seconds that a crawl may take, its start and its end included."""

MODES: dict[str, dict[str, Any]] = {
    "asyncio": {},
    "default": {"TWISTED_REACTOR": None},
    "none": {"TWISTED_REACTOR_ENABLED": False},
}
METHODS = ("forkserver", "spawn", "fork")


@dataclass(frozen=True)
class World:
    """One combination of loop mode and start method."""

    mode: str
    method: str

    @property
    def settings(self) -> dict[str, Any]:
        return MODES[self.mode] | {"MPWORKERS_START_METHOD": self.method}

    def needs_http(self) -> None:
        """Skip the test where Scrapy has no HTTP client for this mode."""
        if self.mode == "none":
            aiohttp_handler = find_spec("scrapy.core.downloader.handlers._aiohttp")
            pytest.importorskip("aiohttp" if aiohttp_handler else "httpx")


WORLDS = (
    *(World("asyncio", "fork"), World("default", "forkserver"), World("none", "spawn")),
    *(World("default", "fork"), World("none", "forkserver"), World("asyncio", "spawn")),
    *(World("none", "fork"), World("asyncio", "forkserver"), World("default", "spawn")),
)
"""All combinations; any three neighbours, and the first after the last, hold each mode and method
once."""


def _in_turn(start: int) -> Iterator[World]:
    """Whose turn it is in the plain run, from a row of ``WORLDS`` on.

    By price: a crawl with spawned workers takes three times the CPU of one that forks them.
    """
    for row in itertools.count(start):
        fork, forkserver, spawn = (WORLDS[(3 * row + n) % len(WORLDS)] for n in range(3))
        yield from (fork, forkserver, spawn)
        yield from (World(spawn.mode, "fork"), World(forkserver.mode, "fork"))
        yield World(fork.mode, "forkserver")


_turns: dict[str, Iterator[World]] = {}


def worlds(plain: bool = True) -> Callable[[Callable[..., None]], Any]:
    """Run a test in every world.

    The plain run has the one whose turn it is among the module's tests, so that any of a few meets
    each method and each mode; if not `plain`, it does not have the test.
    """

    def mark(test: Callable[..., None]) -> Any:
        drawn = None
        if plain:
            start = crc32(test.__module__.encode()) % 3
            drawn = next(_turns.setdefault(test.__module__, _in_turn(start)))
        cases = [_case([world], (world.mode, world.method), world == drawn) for world in WORLDS]
        return pytest.mark.parametrize("world", cases)(test)

    return mark


def rotated(
    name: str, values: Sequence[Any], start: int = 0, plain: int = 1
) -> pytest.MarkDecorator:
    """Run each value in every world; in the plain run the first, or the first few, in one each."""
    cases = []
    for n, value in enumerate(values):
        drawn = WORLDS[(start + n) % len(WORLDS)]
        for world in WORLDS:
            names = (str(value), world.mode, world.method)
            cases.append(_case([value, world], names, n < plain and world == drawn))
    return pytest.mark.parametrize(f"{name}, world", cases)


def _case(values: list[Any], names: Sequence[str], plain: bool) -> Any:
    marks = () if plain else pytest.mark.full
    return pytest.param(*values, id="-".join(names), marks=marks)


def offload(*names: str) -> dict[str, Any]:
    """The setting that runs these classes of `crawled.pipelines` in workers."""
    return {"MPWORKERS_PIPELINES": {path(name): 300 + n for n, name in enumerate(names)}}


def path(name: str) -> str:
    return name if "." in name else f"crawled.pipelines.{name}"


@dataclass(frozen=True)
class Line:
    """A line of a crawl's stderr and when it came, in seconds of the monotonic clock."""

    text: str
    time: float


@dataclass(frozen=True)
class Ended:
    """What is left of a crawl that ended: all the evidence."""

    exit_code: int
    lines: list[Line]
    out: str
    items: list[dict[str, Any]]
    time: float

    @cached_property
    def log(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @cached_property
    def stats(self) -> Counter[str]:
        """The numbers of the dumped stats, added up over the crawls of the process."""
        stats: Counter[str] = Counter()
        for name, number in re.findall(r"'([\w/.]+)': (-?[\d.]+)[,}]", self.log):
            stats[name] += float(number)
        return stats

    @property
    def numbers(self) -> list[int]:
        """The items in the feed, sorted."""
        return sorted(item["n"] for item in self.items)

    def told(self, word: str) -> list[Any]:
        """The facts told by the crawl under this word; a single fact stands for itself."""
        return [fact for _, fact in _told(self.lines, word)]

    def seconds_since(self, word: str) -> float:
        """From the last time that this word was told to the end of the process."""
        return self.time - [line.time for line, _ in _told(self.lines, word)][-1]


def _told(lines: list[Line], word: str) -> Iterator[tuple[Line, Any]]:
    for line in lines:
        if found := re.search(rf"@{word} (\[.*\])", line.text):
            facts = json.loads(found[1])
            yield line, facts[0] if len(facts) == 1 else facts


@dataclass
class Crawl:
    """A running Scrapy process and all that it started."""

    command: Sequence[str | Path]
    cwd: Path
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    """Whether items wait at the gate until `open_gate()`."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.tag = uuid.uuid4().hex
        self.deadline = time.monotonic() + DEADLINE
        self._lines: list[Line] = []
        self._ended = False
        self._news = threading.Condition()
        self._gate = (self.folder / "gate").open("w")
        if self.held:
            fcntl.flock(self._gate, fcntl.LOCK_EX)
        self._process = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self) -> subprocess.Popen[bytes] | zygote.Forked:
        env = self._environment()
        read, write = os.pipe()
        self._log = open(read, errors="replace")  # noqa: SIM115 - close() closes it
        with (self.folder / "stdout").open("w") as out, open(write, "w") as err:
            if zygote.can_start(self.command, env):
                return zygote.start(self.command, self.cwd, env, out.fileno(), err.fileno())
            return subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # a group of its own, as a terminal gives it
            )

    def _environment(self) -> dict[str, str]:
        feed = {"FEEDS": {str(self.folder / "items.jl"): {"format": "jsonlines"}}}
        return os.environ | {
            zygote.TAG: self.tag,
            "CRAWL_GATE": str(self.folder / "gate"),
            "CRAWL_SETTINGS": json.dumps(feed | self.settings),
            "PYTHONFAULTHANDLER": "1",
        }

    def _read(self) -> None:
        for text in self._log:
            with self._news:
                self._lines.append(Line(text.rstrip("\n"), time.monotonic()))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    # Waiting

    def wait_for(self, pattern: str) -> str:
        """Wait until a line of the log matches `pattern`, and return it."""
        self._wait(lambda: any(re.search(pattern, line.text) for line in self._lines), pattern)
        return next(line.text for line in self._lines if re.search(pattern, line.text))

    def wait_told(self, word: str, count: int = 1) -> list[Any]:
        """Wait until `word` was told `count` times; return the facts."""
        self._wait(lambda: len(list(_told(self._lines, word))) >= count, f"@{word} {count} times")
        return [fact for _, fact in _told(self._lines, word)]

    def wait_until_told(self, word: str, holds: Callable[[Any], bool]) -> Any:
        """Wait until a fact told under `word` is one for which `holds` is true; return it."""
        self._wait(
            lambda: any(holds(fact) for _, fact in _told(self._lines, word)), f"such a @{word}"
        )
        return next(fact for _, fact in _told(self._lines, word) if holds(fact))

    def _wait(self, seen: Callable[[], bool], what: str) -> None:
        with self._news:
            self._news.wait_for(lambda: seen() or self._ended, self._left())
            if seen():
                return
            ended = self._ended
        self._fail(f"the crawl {'ended' if ended else 'hung'} before {what!r}")

    def _left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @property
    def pid(self) -> int:
        """Of Scrapy's own process."""
        return self._process.pid

    # Disturbing

    def open_gate(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def send(self, signum: signal.Signals) -> None:
        """A signal for the process that was started, and no other."""
        self._process.send_signal(signum)

    def signal_group(self, signum: signal.Signals) -> None:
        """As a terminal does with Ctrl-C."""
        os.killpg(self._process.pid, signum)

    def signal_each(self, signum: signal.Signals) -> None:
        """As systemd does with a unit's processes: youngest first, so that none is forewarned."""
        for process in sorted(self.processes(), key=psutil.Process.create_time, reverse=True):
            process.send_signal(signum)

    def kill_main(self) -> None:
        """As the kernel does when memory is short: Scrapy's own process and no other."""
        self._process.kill()

    # Ending

    def processes(self) -> list[psutil.Process]:
        """All living processes of this crawl, orphans too."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            mine = process.environ().get(zygote.TAG) == self.tag
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # gone meanwhile, or another user's
            return False

    def finish(self, grace: float = 2.0) -> Ended:
        """Wait for the end; no process may outlive it by more than `grace` seconds."""
        try:
            self._process.wait(self._left())
        except subprocess.TimeoutExpired:
            self._fail("the crawl did not end")
        ended_at = time.monotonic()
        self._expect_no_survivors(ended_at + grace)
        self._reader.join(self._left())
        ended = Ended(
            self._process.returncode,
            self._lines,
            (self.folder / "stdout").read_text(),
            self._items(),
            ended_at,
        )
        self._expect_balanced_books(ended.stats)
        return ended

    def _expect_no_survivors(self, until: float) -> None:
        while survivors := self.processes():
            if time.monotonic() > until:
                who = [(process.pid, process.cmdline()) for process in survivors]
                self._fail(f"processes outlived the crawl: {who}")
            await_exits(survivors, until - time.monotonic())

    def _expect_balanced_books(self, stats: Counter[str]) -> None:
        outcomes = ("done", "dropped", "failed", "dead_lettered")
        for submitted in [name for name in stats if re.match(BOOKS, name)]:
            kind = submitted.removesuffix("submitted")
            if stats[submitted] != sum(stats[kind + name] for name in outcomes):
                self._fail(f"{submitted} is not done + dropped + failed + dead_lettered")

    def _items(self) -> list[dict[str, Any]]:
        feed = self.folder / "items.jl"
        return [json.loads(line) for line in feed.read_text().splitlines()] if feed.exists() else []

    def _fail(self, what: str) -> NoReturn:
        self._dump_tracebacks()
        log = "\n".join(line.text for line in self._lines)
        pytest.fail(f"{what}\n{log}", pytrace=True)

    def _dump_tracebacks(self) -> None:
        """Have faulthandler write the stacks of all processes to the log."""
        dumping = self.processes()
        for process in dumping:
            _send(process, signal.SIGABRT)
        await_exits(dumping, 5)
        self.close()

    def close(self) -> None:
        """Leave nothing behind, however the test ended."""
        while left := self.processes():
            for process in left:
                _send(process, signal.SIGKILL)
            await_exits(left, 5)
        self._process.kill()  # a title of its own, as Celery sets it, overwrites its environment
        self._process.wait()
        self._reader.join()
        self._log.close()
        self._gate.close()


def _send(process: psutil.Process, signum: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signum)


class Launcher:
    """Starts crawls for one test, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.crawls: list[Crawl] = []

    def crawl(self, spider: str, world: World, /, *arguments: str, **options: Any) -> Crawl:
        """`scrapy crawl` in the test project; `name=value` arguments are the spider's."""
        given = [word for argument in arguments for word in ("-a", argument)]
        return self.scrapy("crawl", spider, *given, world=world, **options)

    def scrapy(self, *arguments: str, cwd: Path = PROJECT, **options: Any) -> Crawl:
        """The `scrapy` command, by default in the test project."""
        return self.start([SCRAPY, *arguments], cwd, **options)

    def script(self, name: str, *arguments: str, **options: Any) -> Crawl:
        """A Python script of `scripts/`, run where its user would: in its own folder."""
        return self.start([SCRIPTS / name, *arguments], SCRIPTS, **options)

    def start(
        self,
        command: Sequence[str | Path],
        cwd: Path,
        *,
        world: World,
        held: bool = False,
        **settings: Any,
    ) -> Crawl:
        if held:  # nothing is known of how long items take, and few would come in
            settings = {"MPWORKERS_MAX_PENDING": 256} | settings
        folder = self.folder / f"crawl{len(self.crawls)}"
        crawl = Crawl(command, cwd, folder, world.settings | settings, held)
        self.crawls.append(crawl)
        return crawl

    def close(self) -> None:
        for crawl in self.crawls:
            crawl.close()


def crawl_project(
    launch: Launcher, folder: Path, files: Mapping[str, str], method: str, **settings: Any
) -> Ended:
    """Crawl the shop of ``projects.make_project`` in a new folder, with these files in it."""
    project, world = make_project(folder, files), World("asyncio", method)
    return launch.scrapy("crawl", "things", cwd=project, world=world, **settings).finish()


def inline(**settings: Any) -> dict[str, Any]:
    """The same settings as Scrapy alone would have them, for the reference run."""
    moved = settings.pop("MPWORKERS_PIPELINES", {})
    pipelines = settings.get("ITEM_PIPELINES", {}) | moved
    return settings | {"ADDONS": {}, "ITEM_PIPELINES": pipelines}


class Site:
    """A page server on loopback. Pages below /held/ are answered when the test releases them."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # so that close() waits for them
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                if self.path.startswith("/held/"):
                    site._released.wait()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<title>A page</title>")

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        return Handler

    def url(self, page: str) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}/{page}"

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
