"""What import-linter cannot see: nothing in the event loop's thread can block it, Scrapy's commands
do not import ours, what texts name is there, every module has its tests."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scrapy_mpworkers"

#: Modules all of whose code runs in the event loop's thread.
IN_THE_LOOP = [
    "crawl/brake.py",
    "crawl/closing.py",
    "crawl/collector.py",
    "backends/dask/backend.py",
    "backends/dask/worker_handle.py",
    "backends/dask/group.py",
    "crawl/context.py",
    "extension.py",
    "crawl/pool.py",
    "backends/local.py",
    "eventloop.py",
    "spidermiddlewares.py",
    "crawl/events.py",
    "pipelines.py",
    "crawl/router.py",
    "crawl/patches.py",
    "crawl/item.py",
    "crawl/fresh_stats.py",
    "crawl/keys.py",
    "crawl/totals.py",
    "status/advice.py",
    "status/evidence.py",
    "status/history.py",
    "status/observer.py",
    "status/report.py",
    "status/reporter.py",
    "status/summary.py",
    "status/timeline.py",
    "crawl/manager.py",
    "pool/batching.py",
    "pool/dispatcher.py",
    "pool/metrics.py",
    "pool/task_queue.py",
    "pool/timeouts.py",
    "pool/worker_handle.py",
    "pool/group_state.py",
    "pool/sharing.py",
    "pool/postmortem.py",
    "pool/channel.py",
    "pool/worker_group.py",
    "pool/recycling.py",
    "pool/restarts.py",
    "pool/supervisor.py",
    "pool/executor.py",
    "pool/report_listener.py",
    "status/http.py",
    "status/server.py",
    "status/site.py",
    "status/transports.py",
    "pool/stacks.py",
    "pool/dumps.py",
]
#: Methods and functions that wait for a process, a thread, a lock or the clock.
BLOCKING = {
    *("acquire", "communicate", "join", "poll", "recv", "recv_bytes", "result", "select", "sleep"),
    *("wait", "waitpid"),
}
#: Jobs that are defined in the loop's thread and run in the starter's.
IN_THE_STARTER = {"pool/channel.py": {"discard"}, "pool/worker_handle.py": {"undo"}}


def blocking_calls(module: str) -> Iterator[str]:
    tree = ast.parse((PACKAGE / module).read_text())
    elsewhere = {
        id(node)
        for job in ast.walk(tree)
        if isinstance(job, ast.FunctionDef) and job.name in IN_THE_STARTER.get(module, ())
        for node in ast.walk(job)
    }
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not {id(node)} & (elsewhere | awaited):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in BLOCKING and not is_text(node.func) and not is_for_no_time(node):
                yield f"{module}:{node.lineno} {ast.unparse(node)}"


def is_text(function: ast.expr) -> bool:
    """``", ".join(...)`` waits for nobody."""
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant)


def is_for_no_time(call: ast.Call) -> bool:
    """``poll(0)`` does not wait, nor ``acquire(block=False)``, nor the making of a poll object."""
    arguments = [ast.unparse(argument) for argument in (*call.args, *call.keywords)]
    return arguments in (["0"], ["block=False"]) or ast.unparse(call.func) == "select.poll"


@pytest.mark.parametrize("module", IN_THE_LOOP)
def test_nothing_in_the_loops_thread_can_block_it(module: str) -> None:
    assert list(blocking_calls(module)) == []


def test_the_check_finds_what_blocks() -> None:
    # The journal's own thread, and where the starter waits for the fork server.
    found = [
        call
        for module in ("stores/journal.py", "pool/forkserver.py")
        for call in blocking_calls(module)
    ]

    assert any(".join(" in call for call in found)
    assert any(".wait(" in call for call in found)


def test_scrapys_other_commands_load_hardly_anything_of_ours() -> None:
    code = (
        "import sys, scrapy_mpworkers.commands\n"
        "print(*(name for name in sys.modules if name.startswith('scrapy_mpworkers')))"
    )
    command = [sys.executable, "-c", code]

    loaded = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    assert set(loaded.split()) == {
        "scrapy_mpworkers",
        "scrapy_mpworkers.commands",
        "scrapy_mpworkers.errors",
    }


def test_what_only_some_crawls_need_is_imported_by_those() -> None:
    """itemadapter imports pydantic, which takes longer than all of ours together."""
    modules = ("extension", "pipelines", "spidermiddlewares", "pool.worker_group", "worker.main")
    names = [f"scrapy_mpworkers.{module}" for module in modules]
    code = f"import sys, {', '.join(names)}\nprint(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()

    assert not {"itemadapter", "pydantic", "psutil", "distributed"} & set(loaded)


def test_with_workers_switched_off_nothing_of_a_crawl_is_imported() -> None:
    code = "import sys, scrapy_mpworkers.addon, scrapy_mpworkers.extension\nprint(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()

    assert not [name for name in loaded if name.startswith("scrapy_mpworkers.crawl.")]
    assert not {"cloudpickle", "multiprocessing.synchronize"} & set(loaded)


def test_files_and_functions_stay_short() -> None:
    long = [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().split("\n")) > 301]
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{path.name}: {node.name}"] * (lines > 36)

    assert long == []


def test_few_functions_are_handed_to_constructors() -> None:
    handed = [
        f"{path.name}: {argument.arg}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        for argument in node.args.args + node.args.kwonlyargs
        if argument.annotation is not None and "Callable" in ast.unparse(argument.annotation)
    ]

    assert len(handed) <= 12, handed


#: ``scrapy_mpworkers.folder.module``, ``….Class`` and ``…:function``.
NAME = re.compile(r"\bscrapy_mpworkers(?:\.\w+)+(?::\w+)?")
#: ``folder/module.py``, as the docs name modules.
PATH = re.compile(r"`((?:\w+/)+\w+\.py)`")
TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *(ROOT / name for name in ("pyproject.toml", "setup.cfg")),
]
#: The group of entry points, which is no module's.
NO_MODULE = {"scrapy_mpworkers.backends"}


def strings(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def is_there(name: str) -> bool:
    """Say whether a module, or something in it, has this name."""
    path, _, function = name.partition(":")
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("scrapy_mpworkers"):
                raise
            continue
        for attribute in (*parts[length:], *filter(None, [function])):
            found = getattr(found, attribute, None)
        return found is not None
    return False


def test_a_name_that_is_not_there_is_found() -> None:
    assert is_there("scrapy_mpworkers.backends.local:LocalBackend")
    assert not is_there("scrapy_mpworkers.backends.local:NoBackend")
    assert not is_there("scrapy_mpworkers.no_folder.module")


def test_what_strings_of_the_package_name_is_there() -> None:
    named = {
        (module.name, name)
        for module in PACKAGE.rglob("*.py")
        for text in strings(module)
        for name in NAME.findall(text)
    }

    assert named
    assert {pair for pair in named if pair[1] not in NO_MODULE and not is_there(pair[1])} == set()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_what_texts_name_is_there(text: Path) -> None:
    content = text.read_text("utf-8")
    names = set(NAME.findall(content)) - NO_MODULE
    paths = [path for path in PATH.findall(content) if not path.startswith("myproject/")]
    folders = (ROOT, PACKAGE, ROOT / "tests")

    assert [name for name in names if not is_there(name)] == []
    assert [path for path in paths if not any((one / path).exists() for one in folders)] == []


def test_the_root_has_no_more_modules_than_users_may_name() -> None:
    assert len([*PACKAGE.glob("[!_]*.py")]) <= 12


#: Modules that are tested through what they are part of, and where.
TESTED_TOGETHER = {
    "__init__.py": "crawl/test_unbegun.py",
    "addon.py": "crawl/test_unbegun.py",
    "batches.py": "system/differential/cases/levels.py",
    "extension.py": "system/crawls/test_run.py",
    "hops.py": "test_settings.py",
    "pipelines.py": "system/crawls/test_levels.py",
    "spidermiddlewares.py": "crawl/test_unbegun.py",
    "validators.py": "test_settings.py",
    "settings/*.py": "test_settings.py",
    # A crawl is tested as a whole, each case inline and offloaded, and each part by its failures.
    "backends/*.py": "system/differential/test_crawls.py",
    "crawl/*.py": "system/crawls/test_levels.py",
    "status/*.py": "system/crawls/test_snapshot.py",
    "commands/*.py": "system/crawls/test_dead_letters.py",
    "stores/*.py": "stores/test_dead_letters.py",
    # A pool is real processes, which only act together: the tests' names are what can go wrong.
    "pool/*.py": "pool/test_work.py",
    "worker/*.py": "pool/test_deaths.py",
    "backends/dask/*.py": "system/cluster/test_crawls.py",
    # Pipelines with and without each fault go through all of them.
    "lint/*.py": "lint/test_verdicts.py",
    # An item goes through all of them, there and back.
    "wire/*.py": "wire/test_items.py",
}


def has_tests(module: Path) -> bool:
    own = ROOT / "tests" / module.parent / f"test_{module.stem}.py"
    return own.exists() or any(map(is_in(module), TESTED_TOGETHER))


def is_in(module: Path) -> Callable[[str], bool]:
    return lambda pattern: module.parent == Path(pattern).parent and module.match(pattern)


def test_every_module_has_tests() -> None:
    modules = [module.relative_to(PACKAGE) for module in PACKAGE.rglob("*.py")]

    assert [str(module) for module in modules if not has_tests(module)] == []
    assert not [
        tests for tests in TESTED_TOGETHER.values() if not (ROOT / "tests" / tests).exists()
    ]
