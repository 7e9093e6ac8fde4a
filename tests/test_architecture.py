"""What import-linter cannot see: nothing that runs in the event loop's thread can block it, and
Scrapy's commands do not import ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scrapy_mpworkers"

#: Modules all of whose code runs in the event loop's thread.
IN_THE_LOOP = [
    "crawl/backpressure.py",
    "crawl/calls.py",
    "crawl/closing.py",
    "backends/dask/backend.py",
    "backends/dask/worker_handle.py",
    "backends/dask/timeouts.py",
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
    "crawl/stats.py",
    "crawl/reporting.py",
    "crawl/manager.py",
    "pool/batching.py",
    "pool/books.py",
    "pool/dispatcher.py",
    "pool/metrics.py",
    "pool/task_queue.py",
    "pool/timeouts.py",
    "pool/served_crawls.py",
    "pool/worker_handle.py",
    "pool/group_state.py",
    "pool/openings.py",
    "pool/sharing.py",
    "pool/deaths.py",
    "pool/channel.py",
    "pool/worker_group.py",
    "pool/recycling.py",
    "pool/restarts.py",
    "pool/supervisor.py",
    "pool/executor.py",
    "pool/watcher.py",
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
