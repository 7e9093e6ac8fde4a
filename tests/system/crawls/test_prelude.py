"""A worker has run what Scrapy's process had run before it imported the pipelines: the settings
module, then the initializer."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first
from projects import make_project

from .harness import METHODS, World, inline, worlds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .harness import Crawl, Ended, Launcher

FORKSERVER, SPAWN, FORK = (World("asyncio", method) for method in METHODS)
OFFLOADED: dict[str, Any] = {"MPWORKERS_PIPELINES": {"shop.pipelines.Price": 300}}


def start(
    launch: Launcher, folder: Path, files: Mapping[str, str], world: World, **settings: Any
) -> Crawl:
    project = make_project(folder, files)
    return launch.scrapy("crawl", "things", cwd=project, world=world, **settings)


def crawl(
    launch: Launcher, folder: Path, files: Mapping[str, str], world: World, **settings: Any
) -> Ended:
    return start(launch, folder, files, world, **settings).finish()


# What the settings module sets up

SETS_UP = {
    "+shop/settings.py": """
        import decimal, logging, mimetypes, socket
        from shop import registry

        decimal.setcontext(decimal.Context(prec=5))
        mimetypes.add_type("text/price", ".price")
        socket.setdefaulttimeout(7.5)
        registry.currencies["EUR"] = "Euro"

        class Loud(logging.Logger):
            pass

        class Mark(logging.Filter):
            def filter(self, record):
                record.msg = "<" + record.msg + ">"
                return True

        logging.setLoggerClass(Loud)
        logging.getLogger("shop.prices").addFilter(Mark())
    """,
    "shop/registry.py": "currencies = {}",
    "shop/pipelines.py": """
        import decimal, logging, mimetypes, socket, warnings
        from shop.registry import currencies

        EURO = currencies["EUR"]
        log = logging.getLogger("shop.prices")
        log.warning("prices are old")
        log.debug("prices are %s", "read")
        warnings.warn("prices are bad", UserWarning)

        class Price:
            def process_item(self, item):
                log.info("price of %d", item["n"])
                item["third"] = str(decimal.Decimal(1) / 3)
                item["type"] = mimetypes.guess_type("a.price")[0]
                item["timeout"] = socket.getdefaulttimeout()
                item["logger"] = type(logging.getLogger("shop.late")).__name__
                item["euro"] = EURO
                return item
    """,
}


@worlds()
def test_what_settings_set_up_is_there_in_workers(
    launch: Launcher, tmp_path: Path, world: World
) -> None:
    expect_as_inline(launch, tmp_path, world)


@pytest.mark.full
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_what_settings_set_up_is_there_by_every_start_method(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    expect_as_inline(launch, tmp_path, World("asyncio", method))


def expect_as_inline(launch: Launcher, tmp_path: Path, world: World) -> None:
    alone = crawl(launch, tmp_path / "alone", SETS_UP, world, **inline(**OFFLOADED))

    settings = {"LOG_FORMAT": "%(processName)s - [%(name)s] %(levelname)s: %(message)s"}
    ended = crawl(launch, tmp_path / "workers", SETS_UP, world, **settings)

    seen_by = {line.text.split()[0] for line in ended.lines if ": <price of" in line.text}
    assert seen_by and seen_by <= {"worker-1", "worker-2"}
    assert said(ended, "shop.prices", "py.warnings") == said(alone, "shop.prices", "py.warnings")
    assert ended.exit_code == 0
    assert by_number(ended) == by_number(alone)
    assert ended.items[0]["third"] == "0.33333"


def said(ended: Ended, *loggers: str) -> list[str]:
    """The lines that these loggers logged, sorted: workers do not keep an order."""
    lines = [line.text for line in ended.lines if any(f"[{name}]" in line.text for name in loggers)]
    return sorted(re.sub(r"^\S+ \S+ |/\S+/", "", line) for line in lines)


def by_number(ended: Ended) -> list[dict[str, Any]]:
    return sorted(ended.items, key=lambda item: item["n"])


THREAD_AND_FILE = {
    "+shop/settings.py": """
        import atexit, threading
        from shop import telemetry

        telemetry.file = open("telemetry.txt", "a")
        telemetry.thread = threading.Thread(target=telemetry.send, daemon=True)
        telemetry.thread.start()
    """,
    "shop/telemetry.py": """
        import os, queue

        events = queue.Queue()

        def send():
            while True:
                event = events.get()
                file.write(f"{event} {os.getpid()}\\n")
                file.flush()
                events.task_done()
    """,
    "shop/pipelines.py": """
        from shop import telemetry
        READY = telemetry.thread.name

        class Price:
            def process_item(self, item):
                telemetry.events.put(item["n"])
                telemetry.events.join()
                return item
    """,
}


@worlds()
def test_settings_with_a_thread_and_a_file_run_in_each_worker(
    launch: Launcher, tmp_path: Path, world: World
) -> None:
    if world.method == "fork":
        pytest.skip("a fork copies no threads, whatever started them")

    ended = crawl(launch, tmp_path / "project", THREAD_AND_FILE, world)

    sent = (tmp_path / "project/telemetry.txt").read_text().split()
    assert sorted(map(int, sent[::2])) == ended.numbers == list(range(8)), ended.log
    assert ended.exit_code == 0


@pytest.mark.full
def test_settings_with_a_thread_come_before_what_a_server_would_preload(
    launch: Launcher, tmp_path: Path
) -> None:
    ended = crawl(launch, tmp_path / "project", THREAD_AND_FILE, FORKSERVER)

    assert ended.numbers == list(range(8)), ended.log
    assert "READY" not in ended.log


# Which module

TELLS = {
    "+shop/settings.py": """
        import os
        os.write(2, f"@settings [{os.getpid()}]\\n".encode())
    """,
    "shop/other.py": """
        import os
        os.write(2, f"@other [{os.getpid()}]\\n".encode())
        OTHER = True
    """,
    "run.py": """
        import json, os, sys
        from scrapy.crawler import CrawlerProcess
        from scrapy.settings import Settings
        from shop.spiders import Things

        OTHER = True
        if __name__ == "__main__":
            os.write(2, b"@run []\\n")
            given = json.loads(os.environ["CRAWL_SETTINGS"])
            settings = Settings({
                "ADDONS": {"scrapy_mpworkers.Addon": 500},
                "MPWORKERS_WORKERS": 2,
                "MPWORKERS_PIPELINES": {"shop.pipelines.Price": 300},
                "TELNETCONSOLE_ENABLED": False,
            } | given)
            if len(sys.argv) > 1:
                settings.setmodule(sys.argv[1])
            process = CrawlerProcess(settings)
            process.crawl(Things)
            process.start()
    """,
}


@pytest.mark.parametrize(
    ("variable", "arguments"),
    plain_first(
        [
            (None, ()),  # a dict, in the folder of a project
            ("shop.settings", ()),  # the variable is there, and nobody has used it
            (None, ("shop.other",)),  # setmodule()
            ("__main__", ("__main__",)),
        ]
    ),
    ids=["dict", "unused", "setmodule", "main"],
)
def test_no_module_is_imported_that_scrapys_process_has_not_from_the_variable(
    launch: Launcher,
    tmp_path: Path,
    variable: str | None,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(tmp_path / "project", TELLS)
    monkeypatch.delenv("SCRAPY_SETTINGS_MODULE", raising=False)
    if variable is not None:
        monkeypatch.setenv("SCRAPY_SETTINGS_MODULE", variable)

    ended = launch.start([project / "run.py", *arguments], project, world=SPAWN).finish()

    assert ended.numbers == list(range(8)), ended.log
    assert ended.told("run") == [[]]
    assert ended.told("settings") == []
    assert len(ended.told("other")) == len([one for one in arguments if one == "shop.other"])


@pytest.mark.full
def test_each_worker_imports_the_module_of_the_variable(launch: Launcher, tmp_path: Path) -> None:
    ended = crawl(launch, tmp_path / "project", TELLS, SPAWN)

    assert len(set(ended.told("settings"))) == 3
    assert ended.exit_code == 0


# Settings that would do damage a second time

DAMAGE = {
    "+shop/settings.py": """
        import logging, os, shutil, signal, socket

        logging.basicConfig(filename="crawl.log", filemode="w", level="INFO")
        if "MPWORKERS_IN_WORKER" not in os.environ:
            logging.getLogger("shop").warning("begin")
            shutil.rmtree("out", ignore_errors=True)
            os.mkdir("out")
            metrics = socket.create_server(("127.0.0.1", 0))
            PORT = metrics.getsockname()[1]
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    """,
    "shop/pipelines.py": """
        import os, signal
        from pathlib import Path

        class Price:
            def process_item(self, item):
                Path("out", str(item["n"])).touch()
                if item["n"] == 3 and not Path("killed").exists():
                    Path("killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGTERM)  # as service managers do, to everybody
                return item
    """,
}


@pytest.mark.parametrize("method", plain_first(["fork", "forkserver", "spawn"]))
def test_a_replacement_neither_empties_a_log_nor_deletes_nor_binds(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    ended = crawl(launch, tmp_path / "project", DAMAGE, World("asyncio", method))

    assert ended.numbers == list(range(8)), ended.log
    assert ended.stats["mpworkers/workers/deaths"] == 1
    assert sorted(one.name for one in (tmp_path / "project/out").iterdir()) == list("01234567")
    assert "begin" in (tmp_path / "project/crawl.log").read_text()
    assert ended.exit_code == 0


def test_settings_that_fail_in_a_worker_end_the_crawl_with_one_sentence(
    launch: Launcher, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    binds = {
        "+shop/settings.py": f"""
            import socket
            metrics = socket.create_server(("127.0.0.1", {port}))
        """
    }

    ended = crawl(launch, tmp_path / "project", binds, FORKSERVER)

    (line,) = [
        one for one in ended.log.splitlines() if "so the crawl ends: WorkerStartError" in one
    ]
    assert "the settings module shop.settings, which each worker imports before" in line
    assert "OSError: [Errno 98]" in line
    assert 'if "MPWORKERS_IN_WORKER" not in os.environ' in line
    assert "socket.create_server" in ended.log  # the traceback of the worker
    assert ended.items == []


# The initializer

INITIALIZES = {
    "+shop/settings.py": """
        MPWORKERS_INITIALIZER = "shop.begin.begin"
        import os
        IN_WORKER = os.environ.get("MPWORKERS_IN_WORKER")
    """,
    "shop/begin.py": """
        import asyncio, logging, os, sys
        from pathlib import Path

        ready = []

        def begin():
            assert "shop.settings" in sys.modules and "shop.pipelines" not in sys.modules
            if os.environ.get("MPWORKERS_IN_WORKER"):
                asyncio.run(asyncio.sleep(0))  # no loop runs yet
            os.write(2, f"@begun [{os.getpid()}]\\n".encode())
            ready.append(os.getpid())
            logging.getLogger("shop").info("begun")
            fails_at = Path("fails_at")
            if fails_at.exists():
                times = Path("times")
                times.write_text((times.read_text() if times.exists() else "") + "x")
                if len(times.read_text()) == int(fails_at.read_text()):
                    raise ValueError("no licence")
    """,
    "shop/pipelines.py": """
        import os, signal
        from pathlib import Path
        from shop.begin import ready

        PID, = ready

        class Price:
            def process_item(self, item):
                if item["n"] == 3 and Path("fails_at").exists() and not Path("killed").exists():
                    Path("killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return item | {"pid": os.getpid(), "begun": PID}

        class Also(Price):
            pass
    """,
}


@worlds()
def test_the_initializer_runs_once_in_each_worker_and_never_in_a_server(
    launch: Launcher, tmp_path: Path, world: World
) -> None:
    ended = crawl(launch, tmp_path / "project", INITIALIZES, world)

    begun = ended.told("begun")
    assert len(begun) == len(set(begun)) == 2
    assert all(item["pid"] == item["begun"] in begun for item in ended.items)
    assert len(said(ended, "shop")) == 1  # of opening one worker speaks
    assert ended.numbers == list(range(8))


@pytest.mark.full
def test_without_workers_the_initializer_runs_once_in_scrapys_process(
    launch: Launcher, tmp_path: Path
) -> None:
    levels = [
        {"name": "one", "pipelines": {"shop.pipelines.Price": 1}},
        {"name": "two", "pipelines": {"shop.pipelines.Also": 2}},
    ]

    ended = crawl(
        launch,
        tmp_path / "project",
        INITIALIZES,
        FORKSERVER,
        MPWORKERS_WORKERS=0,
        MPWORKERS_PIPELINES={},
        MPWORKERS_LEVELS=levels,
    )

    (begun,) = ended.told("begun")
    assert {(item["pid"], item["begun"]) for item in ended.items} == {(begun, begun)}
    assert ended.numbers == list(range(8))


@pytest.mark.full
def test_switched_off_nothing_is_initialized(launch: Launcher, tmp_path: Path) -> None:
    files = INITIALIZES | {"shop/pipelines.py": "class Price:\n    pass\n"}

    ended = crawl(launch, tmp_path / "project", files, FORKSERVER, MPWORKERS_ENABLED=False)

    assert ended.told("begun") == []
    assert ended.numbers == list(range(8))


@pytest.mark.parametrize("workers", plain_first([1, 0]))
def test_an_initializer_that_fails_at_the_start_ends_the_crawl(
    launch: Launcher, tmp_path: Path, workers: int
) -> None:
    files = INITIALIZES | {"fails_at": "1"}

    ended = crawl(launch, tmp_path / "project", files, SPAWN, MPWORKERS_WORKERS=workers)

    assert "MPWORKERS_INITIALIZER = 'shop.begin.begin' raised ValueError: no licence" in ended.log
    assert ended.items == []


@pytest.mark.full
def test_an_initializer_that_fails_in_a_replacement_is_a_failed_start(
    launch: Launcher, tmp_path: Path
) -> None:
    files = INITIALIZES | {"fails_at": "2"}

    ended = crawl(launch, tmp_path / "project", files, FORKSERVER, MPWORKERS_WORKERS=1)

    assert len(ended.told("begun")) == 3
    assert "no licence" in ended.log
    assert ended.numbers == list(range(8)), ended.log
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("path", "words"),
    plain_first(
        [
            (
                "shop.begin.nothing",
                "AttributeError: module 'shop.begin' has no attribute 'nothing'",
            ),
            ("shop.missing.begin", "ModuleNotFoundError: No module named 'shop.missing'"),
            ("asyncio.sleep", "missing 1 required positional argument: 'delay'"),
            ("shop.begin.later", "an initializer is a plain function"),
        ]
    ),
)
def test_what_cannot_be_an_initializer_is_named(
    launch: Launcher, tmp_path: Path, path: str, words: str
) -> None:
    files = INITIALIZES | {"shop/begin.py": "async def later(): ..."}
    settings = {"MPWORKERS_INITIALIZER": path, "MPWORKERS_WORKERS": 0}

    ended = crawl(launch, tmp_path / "project", files, FORKSERVER, **settings)

    assert f"MPWORKERS_INITIALIZER = {path!r} raised" in ended.log
    assert words in ended.log
    assert ended.items == []


TWO_CRAWLS = """
    import json, os
    from scrapy.crawler import CrawlerProcess
    from scrapy.utils.project import get_project_settings
    from shop.spiders import Things

    class One(Things):
        custom_settings = {"MPWORKERS_INITIALIZER": "shop.begin.one"}

    class Two(Things):
        custom_settings = {"MPWORKERS_INITIALIZER": "shop.begin.two"}

    process = CrawlerProcess(get_project_settings())
    for cls in (One, Two):
        process.crawl(cls, whose=cls.__name__)
    process.start()
"""


@pytest.mark.parametrize("method", plain_first(["forkserver", "fork"]))
def test_crawls_with_different_initializers_share_no_workers(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    files = {
        "run.py": TWO_CRAWLS,
        "shop/begin.py": """
            who = []
            def one(): who.append("One")
            def two(): who.append("Two")
        """,
        "shop/pipelines.py": """
            from shop.begin import who
            class Price:
                def process_item(self, item, spider):
                    return item | {"whose": spider.whose, "who": list(who)}
        """,
    }
    project = make_project(tmp_path / "project", files)

    ended = launch.start([project / "run.py"], project, world=World("asyncio", method)).finish()

    assert len(ended.items) == 16, ended.log
    assert all(item["who"] == [item["whose"]] for item in ended.items)


# What only a script has set

CHANGES = {
    "run.py": """
        import sys
        from scrapy.crawler import CrawlerProcess
        from scrapy.utils.project import get_project_settings
        from shop import pipelines

        pipelines.CONFIG["currency"] = "EUR"
        process = CrawlerProcess(get_project_settings())
        process.crawl("things")
        process.start()
    """,
    "shop/pipelines.py": """
        CONFIG = {}

        class Price:
            def process_item(self, item):
                return item | CONFIG
    """,
}


@pytest.mark.full
@pytest.mark.parametrize("method", METHODS)
def test_module_state_of_a_script_is_warned_of_unless_workers_have_it(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    project = make_project(tmp_path / "project", CHANGES)

    ended = launch.start([project / "run.py"], project, world=World("asyncio", method)).finish()

    has_it = all(item.get("currency") == "EUR" for item in ended.items)
    is_warned = "shop.pipelines.CONFIG: changed since the import, but workers" in ended.log
    assert (has_it, is_warned) == ((True, False) if method == "fork" else (False, True))
    assert ended.numbers == list(range(8))
