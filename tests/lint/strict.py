"""A script: inspects classes in an interpreter that forgives nothing, and prints what was found.

It is run with ``-bb -X dev -OO``; that warnings are errors begins behind the imports of others.
"""

from __future__ import annotations

import json
import py_compile
import sys
import tempfile
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

from scrapy_mpworkers.lint import changed_state, inspect
from scrapy_mpworkers.lint.repeated import inspect_module

SOURCE = r"""
import os, re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

def begin():
    if b"MPWORKERS_IN_WORKER" not in os.environ and os.environ.get("MPWORKERS_IN_WORKER") != b"1":
        open(b"log", b"w"), os.environ[b"MPWORKERS_IN_WORKER"], os.getenv(b"MPWORKERS_IN_WORKER")
    open("out", "w")

if os.environ.get("NEVER"):
    begin()

LIMIT = 5

class Pipeline:
    magic = b"sqlite"

    def __init__(self):
        self.seen = set()
        self.pattern = re.compile("\d+")  # an invalid escape sequence

    def process_item(self, item, spider):
        open(b"file", b"w"), getattr(item["response"], b"meta"), getattr(spider, b"name")
        spider.settings[b"KEY"], item[b"key"].meta
        if item[b"url"] in self.seen:
            return None
        self.seen.add(item[b"url"])
        requests.post(b"https://sqlite", data=b"sqlite")
        return item
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({kind: inspected(kind, Path(folder)) for kind in KINDS}))


def inspected(kind: str, folder: Path) -> list[object]:
    sys.path.insert(0, str(KINDS[kind](folder / kind, kind)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the source itself, which Python compiles
        module = import_module(f"{kind}.pipelines") if kind != "bare" else import_module("bare")
    warnings.simplefilter("error")
    report = inspect(module.Pipeline)
    names = [name for finding in report.findings for name in finding.names]
    lines = SOURCE.splitlines()
    opened = [lines[int(one.where.split(":")[-1]) - 1].strip() for one in inspect_module(module)]
    module.LIMIT = 7  # type: ignore[attr-defined]
    changed = changed_state([module.Pipeline], [module.__name__])
    return [names, report.error, list(report.unread), opened, changed]


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (folder / name / "pipelines.py").write_text(SOURCE)
    return folder


def package_in_zip(folder: Path, name: str) -> Path:
    """As an egg has it: with bytecode that was compiled where nobody finds the source."""
    package(folder, name)
    bytecode = folder / name / "pipelines.pyc"
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    file = str(folder / name / "pipelines.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        py_compile.compile(file, str(bytecode), "build/egg/pipelines.py", True, 2, unchecked)
    with zipfile.ZipFile(f"{folder}.egg", "w") as egg:
        for path in (folder / name).iterdir():
            egg.write(path, f"{name}/{path.name}")
    return Path(f"{folder}.egg")


def bytecode_alone(folder: Path, name: str) -> Path:
    folder.mkdir()
    source = folder / "source.py"
    source.write_text(SOURCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        py_compile.compile(str(source), str(folder / f"{name}.pyc"), "gone.py", True, 2)
    source.unlink()
    return folder


KINDS = {"loose": package, "zipped": package_in_zip, "bare": bytecode_alone}

if __name__ == "__main__":
    main()
