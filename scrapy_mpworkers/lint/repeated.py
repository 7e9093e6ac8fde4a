"""Finds lines of the project's settings and of the spider's module that should not run again in
workers, which import both."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from scrapy_mpworkers.lint.code import Function, Module, parsed
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.outside import mode_of, writing_mode
from scrapy_mpworkers.lint.project import loaded
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import FunctionNode, find
from scrapy_mpworkers.wire.texts import named

logger = logging.getLogger(__name__)

#: The variable that is set in workers, and its value there.
IN_WORKER, _VALUE = "MPWORKERS_IN_WORKER", "1"

_UNKNOWN = object()  #: a value that only running the code would tell
#: Names of Python: a settings module is always imported, and never the script.
_NAMES = {"__name__": "a module", "TYPE_CHECKING": False}


class Repeated(NamedTuple):
    """Describes a line that acts again in each worker."""

    where: str  #: file and line
    code: str
    does: str  #: in words


def inspect_module(module: ModuleType) -> list[Repeated]:
    """Find what the import of a module does in workers, too, as no test prevents it."""
    return list(dict.fromkeys(_Reader().read(module.__name__)))


def module_lines(modules: Mapping[str, str]) -> list[str]:
    """Return the warnings for those *modules* that this process has imported.

    Args:
        modules: what each is, at the beginning of a sentence, by its name.
    """
    return [
        line
        for name, what in modules.items()
        if name in sys.modules
        for line in _lines(f"{what} {name}", sys.modules[name])
    ]


def _lines(who: str, module: ModuleType) -> list[str]:
    try:
        found = inspect_module(module)
    except Exception as error:  # code in a style that nobody has thought of
        logger.debug("%s could not be inspected", module.__name__, exc_info=True)
        return [
            f"{who} could not be inspected ({named(error)}), so "
            "nothing is said of what it would do again in a worker. Please report this."
        ]
    return [
        f"{who} {one.does}: {one.code} ({one.where}). Workers import that "
        "module too, replacements in the middle of the crawl as well, so the line runs again "
        f'there. Put it under: if "{IN_WORKER}" not in os.environ:'
        for one in found
    ]


def warn_of_modules(modules: Mapping[str, str]) -> None:
    for line in module_lines(modules):
        logger.warning("%s", line)


class _Reader:
    """Reads a module, and those from which it imports ``*``, each line once."""

    def __init__(self) -> None:
        self._origins = Origins(Source(object))
        self._read: set[object] = set()

    def read(self, name: str) -> Iterator[Repeated]:
        if name not in self._read:
            self._read.add(name)
            module = parsed(loaded(name).get("__file__"), name)
            yield from self._of_body(module.tree.body, module.scope)

    def _of_body(self, body: list[ast.stmt], function: Function) -> Iterator[Repeated]:
        own = {name: values[-1] for name, values in function.values.items()}
        guards = _Guards(function.module.values | own)
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
        if origin in known().names["log_files"]:
            return "opens a log file and empties it" if _empties_log(call, origin) else ""
        if origin in known().names["making_folders"]:
            is_fine = _says(call, "exist_ok") or _is_tried(call, function.module)
            return "" if is_fine else "makes a folder, which fails where it is there already"
        if origin in known().effects:
            is_question = any(one.arg in ("capture_output", "stdout") for one in call.keywords)
            return "" if is_question and origin == "subprocess.run()" else known().effects[origin]
        called = origin.rpartition(".")[2].removesuffix("()")
        for method, does in known().effects_of_methods.items():
            root, _, name = method.partition(":")
            if origin.startswith(root) and name == called:
                return does
        return "opens a file for writing" if mode_of(call, function, self._origins) else ""


def _empties_log(call: ast.Call, origin: str) -> bool:
    if origin != "logging.basicConfig()":
        return writing_mode(call, 1, {"mode"}).startswith("w")
    # A worker has a handler already, and basicConfig then opens nothing, unless it is forced to.
    return _says(call, "force") and writing_mode(call, None, {"filemode"}).startswith("w")


def _says(call: ast.Call, name: str) -> bool:
    values = [one.value for one in call.keywords if one.arg == name]
    return any(one.value for one in find(values, ast.Constant))


def _is_tried(call: ast.Call, module: Module) -> bool:
    """Return whether the code asks before whether the folder is there, or catches the error."""
    return any(
        isinstance(one, ast.Try) or re.search("exists|is_?dir", ast.unparse(one.test))
        for one in find(module.tree, (ast.If, ast.Try))
        if call in ast.walk(one)
    )


class _Guards:
    """Tells which nodes of a module run in workers, where ``MPWORKERS_IN_WORKER`` is set."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values  # what is assigned to the names of the module

    def run_in_worker(self, body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
        """List every node that may run in a worker, without what functions hold."""
        for statement in body:
            yield from self._of(statement)
            if self._leaves(statement):
                return

    def _of(self, node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, (ast.Lambda, FunctionNode)):
            return
        yield node
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield from self._of(node.test)
            for branch in self._taken(node):
                many = isinstance(branch, list)
                yield from self.run_in_worker(branch) if many else self._of(branch)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from self._of(value)
                if self._truth(value) is isinstance(node.op, ast.Or):
                    return  # the others are not computed
        else:
            for child in ast.iter_child_nodes(node):
                yield from self._of(child)

    def _taken(self, node: ast.If | ast.IfExp | ast.While) -> list[Any]:
        branches = {True: [node.body], False: [node.orelse], None: [node.body, node.orelse]}
        return branches[self._truth(node.test)]

    def _leaves(self, statement: ast.stmt) -> bool:
        """Return whether nothing runs behind it, as behind a ``return`` that workers come to."""
        if isinstance(statement, (ast.Return, ast.Raise)):
            return True
        if isinstance(statement, ast.If) and self._truth(statement.test) is not None:
            (branch,) = self._taken(statement)
            return any(self._leaves(one) for one in branch)
        return False

    def _truth(self, test: ast.expr) -> bool | None:
        value = self._value(test, 4)
        return None if value is _UNKNOWN else bool(value)

    def _value(self, node: ast.expr, depth: int) -> Any:
        """Compute the value in a worker, as far as the variable alone decides it."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self._values and depth > 0:
                return self._value(self._values[node.id], depth - 1)
            return _NAMES.get(node.id, _UNKNOWN)
        if isinstance(node, ast.NamedExpr):
            return self._value(node.value, depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._value(node.operand, depth)
            return _UNKNOWN if inner is _UNKNOWN else not inner
        if isinstance(node, ast.BoolOp):
            values = [self._value(one, depth) for one in node.values]
            ends = isinstance(node.op, ast.Or)
            if any(one is not _UNKNOWN and bool(one) is ends for one in values):
                return ends
            return _UNKNOWN if _UNKNOWN in values else values[-1]
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._compared(node, depth)
        return self._looked_up(node, depth)

    def _compared(self, node: ast.Compare, depth: int) -> Any:
        operator, right = node.ops[0], node.comparators[0]
        left = self._value(node.left, depth)
        if isinstance(operator, (ast.In, ast.NotIn)):
            is_asked = _is_same(left, IN_WORKER) and _is_environment(right)
            return isinstance(operator, ast.In) if is_asked else _UNKNOWN
        other = self._value(right, depth)
        if left is _UNKNOWN or other is _UNKNOWN:
            return _UNKNOWN
        if isinstance(operator, (ast.Eq, ast.Is)):
            return _is_same(left, other)
        if isinstance(operator, (ast.NotEq, ast.IsNot)):
            return not _is_same(left, other)
        return _UNKNOWN

    def _looked_up(self, node: ast.expr, depth: int) -> Any:
        """Compute ``os.environ["…"]``, ``os.environ.get("…")``, ``os.getenv("…")``, ``bool(…)``."""
        if isinstance(node, ast.Subscript):
            key = self._value(node.slice, depth)
            is_asked = _is_same(key, IN_WORKER) and _is_environment(node.value)
            return _VALUE if is_asked else _UNKNOWN
        if not isinstance(node, ast.Call) or not node.args:
            return _UNKNOWN
        called, given = ast.unparse(node.func), self._value(node.args[0], depth)
        if called in ("bool", "int") and given is not _UNKNOWN:
            return _VALUE if given else given
        is_reader = called.endswith(("environ.get", "getenv"))
        return _VALUE if is_reader and _is_same(given, IN_WORKER) else _UNKNOWN


def _is_same(one: Any, other: Any) -> bool:
    # Bytes are not compared with text: with "python -bb" that is an error.
    return type(one) is type(other) and one == other


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node).endswith(("environ", "environ.keys()"))
