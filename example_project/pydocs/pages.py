"""The input: the standard library's documentation as HTML, rendered once and kept."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pydocs import PROJECT

# Each Python has a documentation of its own.
PAGES = PROJECT / ".pages" / f"{sys.version_info.major}.{sys.version_info.minor}"

# They act when they are imported, or nobody looks for their documentation.
SKIPPED = {
    "antigravity",
    "distutils",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "test",
    "tests",
    "this",
    "tkinter",
    "turtledemo",
}
MODULES_PER_PROCESS = 20
SECONDS_PER_PROCESS = 30.0


def ensure_pages(progress: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """Render the documentation unless an earlier run did.

    Args:
        progress: told how many modules of how many have been rendered.

    Returns:
        The folder of pages, with an ``index.html`` that links to all others.
    """
    if not PAGES.exists():
        # Under another name until it is complete, or an interrupted run would pass for the cache.
        unfinished = PAGES.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        render_all(sorted(stdlib_modules()), unfinished, progress)
        write_index(unfinished)
        unfinished.rename(PAGES)
    return PAGES


def count_pages() -> int:
    return sum(1 for _ in PAGES.glob("*.html")) - 1  # all but the index


def stdlib_modules() -> Iterator[str]:
    """The names of the public modules, found without importing any."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    for name in filter(is_wanted, sys.stdlib_module_names):
        yield name
        yield from submodules(stdlib / name, name)


def submodules(folder: Path, package: str) -> Iterator[str]:
    for module in pkgutil.iter_modules([str(folder)]):
        if is_wanted(module.name):
            name = f"{package}.{module.name}"
            yield name
            if module.ispkg:
                yield from submodules(folder / module.name, name)


def is_wanted(name: str) -> bool:
    return not name.startswith("_") and name not in SKIPPED


def render_all(modules: list[str], folder: Path, progress: Callable[[int, int], None]) -> None:
    """Render in as many processes at a time as there are CPUs; a thread only waits for each."""
    shares = [
        modules[start : start + MODULES_PER_PROCESS]
        for start in range(0, len(modules), MODULES_PER_PROCESS)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rendering = [threads.submit(render_share, share, folder) for share in shares]
        for done, _ in enumerate(as_completed(rendering), 1):
            progress(min(done * MODULES_PER_PROCESS, len(modules)), len(modules))


def render_share(modules: list[str], folder: Path) -> None:
    """A process that crashes or hangs takes the rest of its share with it, not more."""
    command = [sys.executable, "-W", "ignore", "-m", "pydocs.render", str(folder), *modules]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS_PER_PROCESS,
        )


def write_index(folder: Path) -> None:
    links = "\n".join(
        f'<li><a href="{page.name}">{page.stem}</a></li>' for page in sorted(folder.iterdir())
    )
    (folder / "index.html").write_text(
        "<!DOCTYPE html>\n<title>The standard library</title>\n"
        f"<main>\n<h1>The standard library</h1>\n<ul>\n{links}\n</ul>\n</main>\n",
        "utf-8",
    )
