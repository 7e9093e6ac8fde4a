"""Holds parsed modules and functions, and knows how their names are bound."""

from __future__ import annotations

import ast
import inspect
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

from scrapy_mpworkers.lint.project import is_a, is_same_project, live_object, loaded, source_text
from scrapy_mpworkers.lint.syntax import FunctionNode, assigned_names, bindings, find, names_in

#: Nodes that bind a name without an assignment.
_NAMING = ast.ClassDef | FunctionNode | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
#: Nodes that have names of their own.
_SCOPES = (
    *(ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
#: Parameters that Scrapy fills, with nothing of an item.
GIVEN = frozenset({"crawler", "spider", "settings"})


@dataclass(frozen=True, eq=False)
class Module:
    """Holds a parsed file: what it imports, assigns and defines at the top."""

    name: str
    tree: ast.Module
    file: str = ""

    @cached_property
    def imports(self) -> dict[str, str]:
        """Map local names to dotted paths, of all that is imported at the top."""
        return dict(self.imported_names(_top_level(self.tree)))

    def imported_names(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
        """Yield (local name, dotted path) of each import among *nodes*.

        The path of what is the project's own begins with a dot: it may be called like a library.
        """
        for node in nodes:
            if isinstance(node, ast.Import):
                for one in node.names:
                    path = one.name if one.asname else one.name.partition(".")[0]
                    yield one.asname or path, self._marked(path)
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for one in node.names:
                    yield one.asname or one.name, f"{origin}.{one.name}"

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return self._marked(node.module or "")
        is_package = self.file.replace("\\", "/").endswith("/__init__.py")
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        return "." + ".".join(filter(None, [*parts, node.module]))

    def _marked(self, path: str) -> str:
        is_own = path.partition(".")[0] == self.name.partition(".")[0]
        return f".{path}" if is_own else path

    @cached_property
    def values(self) -> dict[str, ast.expr]:
        """Map the names at the top to what is assigned to them last."""
        return dict(assigned_names(_top_level(self.tree)))

    @cached_property
    def functions(self) -> dict[str, Function]:
        nodes = [node for node in self.tree.body if isinstance(node, FunctionNode)]
        return {node.name: Function(node.name, node, self) for node in nodes}

    @cached_property
    def classes(self) -> frozenset[str]:
        return frozenset(n.name for n in _top_level(self.tree) if isinstance(n, ast.ClassDef))

    @cached_property
    def scope(self) -> Function:
        """Make a function without names of its own, where names mean what they mean at the top."""
        node: Any = ast.parse("def top(): pass").body[0]
        return Function("", node, self)

    def location(self, node: ast.AST) -> str:
        """Say where *node* is, for a message: file and line."""
        folder = os.path.join(os.getcwd(), "")
        return f"{self.file.removeprefix(folder)}:{getattr(node, 'lineno', 1)}"

    def own(self, value: Any) -> Any:
        """Return *value* itself if it is defined in the same project, else ``None``."""
        try:
            home = value.__module__
        except Exception:  # of an object that stands for another one, and has none at the moment
            return None
        return value if isinstance(home, str) and is_same_project(home, self.name) else None


@dataclass(frozen=True, eq=False)
class Function:
    """Holds a method or a function at the top of a module."""

    name: str
    node: FunctionNode
    module: Module
    owner: int | None = None  #: the position of its class among the bases, if it is a method

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """List the function itself, which is the first, and all that it holds."""
        return list(ast.walk(self.node))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def parameters(self) -> list[str]:
        """List its parameters, without the object or class that a method is called on."""
        return self._positional[self._is_bound :] + [arg.arg for arg in self.node.args.kwonlyargs]

    @cached_property
    def _positional(self) -> list[str]:
        return [arg.arg for arg in (*self.node.args.posonlyargs, *self.node.args.args)]

    @cached_property
    def own_names(self) -> frozenset[str]:
        """List the names that stand for the pipeline or its class."""
        return frozenset({"self", "cls", *self._positional[: self._is_bound]})

    @cached_property
    def values(self) -> dict[str, list[ast.expr]]:
        """Map its locals to what is assigned to them, in order; ``with`` and ``for`` included."""
        found: dict[str, list[ast.expr]] = {}
        for node in self.nodes:
            for target, value in bindings(node):
                for name in find(target, ast.Name, lambda one: isinstance(one.ctx, ast.Store)):
                    found.setdefault(name.id, []).append(value)
        return found

    @cached_property
    def defaults(self) -> dict[str, ast.expr]:
        """Map its parameters to their defaults."""
        args = self.node.args
        found = dict(zip(reversed(self._positional), reversed(args.defaults), strict=False))
        by_name = zip(args.kwonlyargs, args.kw_defaults, strict=True)
        return found | {arg.arg: value for arg, value in by_name if value is not None}

    def names_of_item(self, steps: int) -> set[str]:
        """Collect the names that depend on its parameters, through as many assignments."""
        found = set(self.parameters) - GIVEN
        for _ in range(steps):
            for name, values in self.values.items():
                if any(names_in(value) & found for value in values):
                    found.add(name)
        return found

    @cached_property
    def imports(self) -> dict[str, str]:
        """Map local names to dotted paths, of all that is imported inside of it."""
        return dict(self.module.imported_names(self.nodes))

    @cached_property
    def named(self) -> frozenset[str]:
        """List names bound in other ways: ``except … as``, a function, a class, ``*args``."""
        args = self.node.args
        starred = {one.arg for one in (args.vararg, args.kwarg) if one is not None}
        inside = {one.name or "" for one in self.nodes[1:] if isinstance(one, _NAMING)}
        return frozenset(starred | inside)

    def is_local(self, node: ast.Name) -> bool:
        """Return whether the name means something of this function there, not of its module."""
        bound = (self.values, self.parameters, self.own_names, self.imports, self.named)
        is_bound = node.id not in self.globals and any(node.id in names for names in bound)
        return is_bound or self.is_inner(node)

    def is_inner(self, node: ast.Name) -> bool:
        """Return whether the name is a parameter of a lambda or function inside of this one."""
        return node in self._inner

    @cached_property
    def _inner(self) -> set[ast.AST]:
        inside = [one for one in self.nodes[1:] if isinstance(one, (ast.Lambda, FunctionNode))]
        given = {one: _all_parameters(one) for one in inside}
        return {name for one in inside for name in find(one, ast.Name) if name.id in given[one]}

    @cached_property
    def globals(self) -> frozenset[str]:
        return frozenset(name for node in find(self.nodes, ast.Global) for name in node.names)

    @cached_property
    def decorators(self) -> set[str]:
        return {ast.unparse(one).partition("(")[0] for one in self.node.decorator_list}

    def live(self, node: ast.expr) -> Any:
        """Return the object that a name, or a member of a module or class, is in this process."""
        if isinstance(node, ast.Name):
            if node.id in self.imports and not self.is_inner(node):
                return live_object(self.imports[node.id])
            return None if self.is_local(node) else loaded(self.module.name).get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.live(node.value)
            return vars(owner).get(node.attr) if is_a(owner, ModuleType, type) else None
        return None

    def helper(self, node: ast.AST) -> Function | None:
        """Find the function of the project that a name, or a member of a module, means here."""
        if not isinstance(node, (ast.Attribute, ast.Name)):
            return None
        if isinstance(node, ast.Attribute) and not is_a(self.live(node.value), ModuleType):
            return None
        if isinstance(node, ast.Name) and node.id not in self.imports and not self.is_local(node):
            if node.id in self.module.functions:
                return self.module.functions[node.id]
            if not self.module.imports.keys() & {node.id, "*"}:
                return None
        live = inspect.unwrap(self.module.own(self.live(node)))
        if not inspect.isfunction(live):
            return None
        return parsed(live.__code__.co_filename, live.__module__).functions.get(live.__name__)

    @property
    def _is_bound(self) -> bool:
        return self.owner is not None and "staticmethod" not in self.decorators

    def is_for_either_loop(self, node: ast.AST) -> bool:
        """Return whether it depends on ``if is_asyncio_available()``: a worker has asyncio."""
        name = "is_asyncio_available"
        if name not in self.module.imports:
            return False
        around = find(self.ancestors(node), (ast.If, ast.IfExp))
        return any(name in ast.unparse(one.test) for one in around)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what *node* lies in, from the inside out, up to the function itself."""
        while node is not self.node and node in self.parents:
            node = self.parents[node]
            yield node


@lru_cache(maxsize=64)
def parsed(file: object, name: str) -> Module:
    """Parse the module *name* in *file*; if its source cannot be read, there is nothing in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's literals, which -W error makes errors
            text = source_text(file, name) if isinstance(file, str) else ""
            return Module(name, ast.parse(text), str(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Module(name, ast.Module([], []))


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all that runs when a module is imported, but not what functions and classes hold."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, _SCOPES):
            yield from _top_level(node)


def _all_parameters(function: ast.Lambda | FunctionNode) -> set[str]:
    """Collect the names of all parameters, ``*args`` and ``**kwargs`` included."""
    args = function.args
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {one.arg for one in listed if one is not None}
