"""Finds lines of a project's settings module that should not run again in workers."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from scrapy_mpworkers.lint.code import Function, Module, parsed
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.outside import mode_of, writing_mode
from scrapy_mpworkers.lint.project import loaded
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import find
from scrapy_mpworkers.lint.worker_guards import IN_WORKER, Guards

logger = logging.getLogger(__name__)

_OUTPUTS = frozenset({"capture_output", "stdout"})


class Repeated(NamedTuple):
    """Describes a line that acts again."""

    where: str  #: file and line
    code: str
    does: str  #: in words


def inspect_settings(module: ModuleType) -> list[Repeated]:
    """Find what a settings module does when it is imported, where no test keeps it from a worker.

    Modules of settings that it imports all names of are read as well.
    """
    return list(dict.fromkeys(_Reader().read(module.__name__)))


def settings_lines(name: str | None) -> list[str]:
    """Return the warnings for the settings module of that name, if this process has imported it."""
    module = sys.modules.get(name or "")
    if module is None:
        return []
    try:
        found = inspect_settings(module)
    except Exception as error:  # code in a style that nobody has thought of
        logger.debug("%s could not be inspected", name, exc_info=True)
        return [
            f"The settings module {name} could not be inspected ({type(error).__name__}: {error}), "
            "so nothing is said of what it would do again in a worker. Please report this."
        ]
    return [
        f"The settings module {name} {one.does}: {one.code} ({one.where}). Workers import that "
        "module too, replacements in the middle of the crawl as well, so the line runs again "
        f'there. Put it under: if "{IN_WORKER}" not in os.environ:'
        for one in found
    ]


def warn_of_settings_module(name: str | None) -> None:
    """Log a warning for each line of the settings module that should not run again in workers."""
    for line in settings_lines(name):
        logger.warning("%s", line)


class _Reader:
    """Reads a settings module and what it takes its names from, each line once."""

    def __init__(self) -> None:
        self._origins = Origins(Source(object))
        self._read: set[object] = set()

    def read(self, name: str) -> Iterator[Repeated]:
        """Yield the lines of a module, and of those that it takes all its names from."""
        if name not in self._read:
            self._read.add(name)
            module = parsed(loaded(name).get("__file__"), name)
            yield from self._of_body(module.tree.body, module.scope)

    def _of_body(self, body: list[ast.stmt], function: Function) -> Iterator[Repeated]:
        own = {name: values[-1] for name, values in function.values.items()}
        guards = Guards(function.module.values | own)
        for node in guards.run_in_worker(body):
            if isinstance(node, ast.ImportFrom):
                for name, path in function.module.imported_names([node]):
                    if name == "*":
                        yield from self.read(path.removesuffix(".*").lstrip("."))
            elif isinstance(node, ast.Call):
                yield from self._of_call(node, function)

    def _of_call(self, call: ast.Call, function: Function) -> Iterator[Repeated]:
        does = self._effect(call, function)
        if does:
            # Without its arguments: a settings module has passwords in them.
            code = f"{ast.unparse(call.func)}(...)"
            yield Repeated(function.module.location(call), code, does)
            return
        helper = function.helper(call.func) if isinstance(call.func, ast.Name) else None
        if helper is not None and helper.node not in self._read:
            self._read.add(helper.node)
            yield from self._of_body(helper.node.body, helper)

    def _effect(self, call: ast.Call, function: Function) -> str:
        origin = self._origins.of(call, function)
        if origin in known().log_files:
            return "opens a log file and empties it" if _empties_log(call, origin) else ""
        if origin in known().names["making_folders"]:
            is_fine = _says(call, "exist_ok") or _is_tried(call, function.module)
            return "" if is_fine else "makes a folder, which fails where it is there already"
        if origin in known().effects:
            is_question = any(one.arg in _OUTPUTS for one in call.keywords)
            return "" if is_question and origin == "subprocess.run()" else known().effects[origin]
        called = origin.rpartition(".")[2].removesuffix("()")
        for method, does in known().effects_of_methods.items():
            root, _, name = method.partition(":")
            if origin.startswith(root) and name == called:
                return does
        return "opens a file for writing" if mode_of(call, function, self._origins) else ""


def _empties_log(call: ast.Call, origin: str) -> bool:
    position, name = known().log_files[origin]
    # A worker has a handler already, and basicConfig then opens nothing, unless it is forced to.
    is_without_effect = name == "filemode" and not _says(call, "force")
    return not is_without_effect and writing_mode(call, position, {name}).startswith("w")


def _says(call: ast.Call, name: str) -> bool:
    """Return whether an argument of that name is true."""
    values = [one.value for one in call.keywords if one.arg == name]
    return any(one.value for one in find(values, ast.Constant))


def _is_tried(call: ast.Call, module: Module) -> bool:
    """Return whether the code asks before whether the folder is there, or catches the error."""
    return any(
        isinstance(one, ast.Try) or re.search("exists|is_?dir", ast.unparse(one.test))
        for one in find(module.tree, (ast.If, ast.Try))
        if call in ast.walk(one)
    )
