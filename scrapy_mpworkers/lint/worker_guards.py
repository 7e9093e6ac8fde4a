"""Finds the code of a module that no test of ``MPWORKERS_IN_WORKER`` keeps from workers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scrapy_mpworkers.lint.syntax import FunctionNode

#: The variable that is set in workers, and its value there.
IN_WORKER, _VALUE = "MPWORKERS_IN_WORKER", "1"

_UNKNOWN = object()  #: a value that only running the code would tell
_DEFERRED = ast.Lambda | FunctionNode


class Guards:
    """Tells which nodes of a module run where the variable is set.

    Args:
        values: what is assigned to the names of the module.
    """

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values

    def run_in_worker(self, body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
        """List every node that may run in a worker, without what functions hold."""
        for statement in body:
            yield from self._of(statement)
            if self._leaves(statement):
                return

    def _of(self, node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, _DEFERRED):
            return
        yield node
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield from self._of(node.test)
            for branch in self._taken(node):
                many = isinstance(branch, list)
                yield from self.run_in_worker(branch) if many else self._of(branch)
        elif isinstance(node, ast.BoolOp):
            for value in self._tried(node):
                yield from self._of(value)
        else:
            for child in ast.iter_child_nodes(node):
                yield from self._of(child)

    def _taken(self, node: ast.If | ast.IfExp | ast.While) -> list[Any]:
        """List the branches that may be taken."""
        branches = {True: [node.body], False: [node.orelse], None: [node.body, node.orelse]}
        return branches[self._truth(node.test)]

    def _tried(self, node: ast.BoolOp) -> Iterator[ast.expr]:
        """List the values of ``a and b and c`` that may be computed."""
        ends = not isinstance(node.op, ast.And)
        for value in node.values:
            yield value
            if self._truth(value) is ends:
                return

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
            known = node.id in self._values and depth > 0
            return self._value(self._values[node.id], depth - 1) if known else _of_name(node.id)
        if isinstance(node, ast.NamedExpr):
            return self._value(node.value, depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._value(node.operand, depth)
            return _UNKNOWN if inner is _UNKNOWN else not inner
        if isinstance(node, ast.BoolOp):
            return self._value_of_all(node, depth)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._compared(node, depth)
        return self._looked_up(node, depth)

    def _value_of_all(self, node: ast.BoolOp, depth: int) -> Any:
        values = [self._value(one, depth) for one in node.values]
        ends = not isinstance(node.op, ast.And)
        if any(one is not _UNKNOWN and bool(one) is ends for one in values):
            return ends
        return _UNKNOWN if _UNKNOWN in values else values[-1]

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


def _of_name(name: str) -> Any:
    """Compute a name of Python: a settings module is always imported, and never the script."""
    return {"__name__": "a module", "TYPE_CHECKING": False}.get(name, _UNKNOWN)


def _is_same(one: Any, other: Any) -> bool:
    # Bytes are not compared with text: with "python -bb" that is an error.
    return type(one) is type(other) and one == other


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node).endswith(("environ", "environ.keys()"))
