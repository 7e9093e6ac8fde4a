"""Finds what a pipeline uses of crawler, spider and response, and what of it no worker has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import CRAWLER, SETTINGS, SPIDER, Origins, Value, first_part
from scrapy_mpworkers.lint.findings import Failure
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.source import ITEM_METHODS
from scrapy_mpworkers.lint.syntax import argument, find, is_call_of, last_name, text_of

_OF_ENGINE = frozenset({"close_spider", "close_spider_async"})
#: Methods of Scrapy's collectors.
_OF_STATS = frozenset(
    {
        *("get_value", "get_stats", "set_value", "set_stats", "inc_value", "max_value"),
        *("min_value", "clear_stats", "open_spider", "close_spider"),
    }
)
_SENDERS = ("send_catch_log", "send_catch_log_async", "send_catch_log_deferred")
_SENT = re.compile(r"signals\.send\w+\((\w+)\)$")
_SIGNALS = frozenset({"spider_opened", "spider_closed"})
_READERS = r"(?:get|getbool|getint|getfloat|getlist|getdict|getwithbase|getdictorlist)"

_TWISTED = ("twisted.", "treq")
_WITHOUT_REQUEST = "a response comes to a worker without its request"
_COPIED = "what the spider has copied into the item: item[...] = response.meta[...]"
#: Members of a response that only its request could answer.
_OF_REQUEST = frozenset({"cb_kwargs", "meta", "request"})
_GETTERS = frozenset({"get", "pop", "__getitem__", "setdefault"})
#: Functions that return the item that they are given, or something with its fields.
_WRAPPERS = frozenset({"ItemAdapter", "asdict", "cast", "copy", "deepcopy", "dict", "vars"})
#: Members by which an object is known as a response, whatever its field is called.
_OF_RESPONSES = frozenset({"cb_kwargs", "css", "follow", "follow_all", "urljoin", "xpath"})
_DEPTH = 6


def capabilities(origins: Origins, functions: Sequence[Function]) -> set[str]:
    """Collect what is used, such as ``settings['X']``, ``stats``, ``signals.spider_closed``."""
    used = {_used(node, function, origins) for node, function in _uses(functions)}
    return set(filter(None, used))


def failures(origins: Origins, functions: Sequence[Function]) -> dict[str, Failure]:
    """Map what would raise, or never happen, in a worker to the failure where it comes first."""
    found: dict[str, Failure] = {}
    own = _own_signals(capabilities(origins, functions))
    # Places that name a module come before those that hand on what was made from it.
    for node, function in sorted(_uses(functions), key=_is_handed_on):
        used = _used(node, function, origins)
        of_crawl = None if used in own else _failing(used)
        for failure in filter(None, (of_crawl, _of_reactor(node, function, origins))):
            found.setdefault(failure.what, failure._replace(where=function.module.location(node)))
    return found


def failures_of_responses(origins: Origins) -> dict[str, Failure]:
    """Map what items ask their responses for, and only the request could answer, to the failure."""
    found: dict[str, Failure] = {}
    for function in origins.functions:
        for node in function.nodes:
            base, name = _member(node)
            if base is not None and name in _OF_REQUEST and _is_response(base, function, origins):
                what, where = ast.unparse(node), function.module.location(node)
                found.setdefault(what, Failure(what, _WITHOUT_REQUEST, where, _COPIED))
    return found


def _is_handed_on(use: tuple[ast.AST, Function]) -> bool:
    node, function = use
    while isinstance(node, ast.Attribute):
        node = node.value
    name = getattr(node, "id", "")
    return name not in function.imports and name not in function.module.imports


def _of_reactor(node: ast.AST, function: Function, origins: Origins) -> Failure | None:
    path = origins.of(node, function).replace("()", "")
    if path.startswith(_TWISTED) and function.is_for_either_loop(node):
        return None
    if path.startswith(known().without_reactor):
        return None
    for name, (why, instead) in known().reactor.items():
        if path == name or path.startswith(f"{name}."):
            return Failure(name, why, instead=instead)
    return None


def _uses(functions: Sequence[Function]) -> Iterator[tuple[ast.AST, Function]]:
    """Yield names and members, each with all that is done with it at that spot."""
    for function in functions:
        for node in function.nodes:
            is_inner = isinstance(function.parents.get(node), ast.Attribute)
            is_use = isinstance(node, (ast.Attribute, ast.Name)) or is_call_of(node, "getattr")
            if is_use and not is_inner:
                yield node, function


def _used(node: ast.AST, function: Function, origins: Origins) -> str:
    path = origins.of(node, function)
    if not path.startswith((f"{CRAWLER}.", f"{SPIDER}.")):
        return ""
    first, _, rest = path.partition(".")
    word = first_part(rest)
    if first == SPIDER:
        return f"spider.{word}"
    if word == "settings":
        return _setting(path, node, function)
    if word == "signals":
        return _signal(path, node, function)
    if word == "engine":
        return f"engine.{first_part(rest.partition('.')[2])}".rstrip(".")
    if word == "stats":
        return _stats(rest)
    return word if word in ("spider", "spidercls") else f"crawler.{word}"


def _stats(rest: str) -> str:
    method = first_part(rest.partition(".")[2])
    is_own = method and not method.startswith("_") and method not in _OF_STATS
    return f"stats.{method}" if is_own else "stats"


def _setting(path: str, node: ast.AST, function: Function) -> str:
    parent = function.parents.get(node)
    argument: ast.AST | None = None
    if isinstance(parent, ast.Subscript) and parent.value is node:
        argument = parent.slice
    elif re.search(rf"settings\.{_READERS}$", path) and isinstance(parent, ast.Call):
        argument = parent.args[0] if parent.args else None
    elif path != SETTINGS:
        return ""
    if isinstance(argument, ast.Constant):
        return f"settings[{argument.value!r}]"
    return "" if isinstance(parent, (ast.Assign, ast.keyword)) else "settings"


def _signal(path: str, node: ast.AST, function: Function) -> str:
    parent = function.parents.get(node)
    if isinstance(parent, ast.Assign):
        return ""  # a short name for it
    method = path.removeprefix(f"{CRAWLER}.signals.")
    if method not in ("connect", *_SENDERS) or not isinstance(parent, ast.Call):
        return "signals"
    position = 1 if method == "connect" else 0
    name = last_name(argument(parent, position, ("signal",))) or "?"
    return f"signals.{name}" if method == "connect" else f"signals.{method}({name})"


def _own_signals(used: set[str]) -> set[str]:
    """Return what is used of signals that the same class sends and hears."""
    sent = [(one, found[1]) for one in used if (found := _SENT.match(one))]
    return {
        use for one, name in sent if f"signals.{name}" in used for use in (one, f"signals.{name}")
    }


def _failing(used: str) -> Failure | None:
    first, _, rest = used.partition(".")
    if first == "signals" and rest.startswith(_SENDERS):
        return Failure(used, "extensions and handlers in Scrapy's process do not hear it")
    if first == "signals" and rest and rest not in (*_SIGNALS, "?"):
        return Failure(used, "this signal is never sent in a worker")
    if first == "engine" and rest and rest not in _OF_ENGINE:
        return Failure(f"crawler.{used}", "only Scrapy's own process has it")
    if first == "stats" and rest:
        return Failure(used, "only the crawl's own collector (STATS_CLASS) has it")
    return Failure(used, "only Scrapy's own process has it") if first == "crawler" else None


def _member(node: ast.AST) -> tuple[ast.expr | None, str]:
    """Split ``x.meta``, and ``getattr(x, "meta")``, into ``x`` and ``meta``."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        return node.value, node.attr
    if is_call_of(node, "getattr") and len(node.args) > 1:
        return node.args[0], text_of(node.args[1])
    return None, ""


def _is_response(base: ast.expr, function: Function, origins: Origins) -> bool:
    key = _key(base, function, origins, _DEPTH)
    if key is None:
        return False
    if "resp" in key.lower():
        return True
    text = ast.unparse(base)
    members = find(function.nodes, ast.Attribute, lambda node: node.attr in _OF_RESPONSES)
    return any(ast.unparse(node.value) == text for node in members)


def _key(node: ast.expr, function: Function, origins: Origins, depth: int) -> str | None:
    """Return the field of the item that *node* is; ``None`` if it is none."""
    owner, key = _field(node)
    if owner is not None:
        return key if _is_item(owner, function, origins, depth) else None
    sources = _sources(node, function, origins, depth)
    keys = (_key(one, caller, origins, depth - 1) for one, caller in sources)
    return next((one for one in keys if one is not None), None)


def _field(node: ast.expr) -> tuple[ast.expr | None, str]:
    """Split ``item["key"]``, ``item.get("key")`` and ``item.key`` into object and key."""
    if isinstance(node, ast.Subscript):
        return node.value, text_of(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_getter = node.func.attr in _GETTERS and bool(node.args)
        return (node.func.value, text_of(node.args[0])) if is_getter else (None, "")
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    return None, ""


def _is_item(node: ast.expr, function: Function, origins: Origins, depth: int) -> bool:
    if isinstance(node, ast.Call):
        of_object = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        given = [*node.args, *of_object] if last_name(node.func) in _WRAPPERS else []
        return any(_is_item(one, function, origins, depth) for one in given)
    if isinstance(node, ast.Attribute):
        return node.attr == "item" and _is_item(node.value, function, origins, depth)
    if isinstance(node, ast.Name) and function.name in ITEM_METHODS:
        is_first = function.parameters[:1] == [node.id] and not function.is_inner(node)
        if is_first and node.id not in function.values:
            return True
    sources = _sources(node, function, origins, depth)
    return any(_is_item(one, caller, origins, depth - 1) for one, caller in sources)


def _sources(node: ast.expr, function: Function, origins: Origins, depth: int) -> list[Value]:
    """List the values that a name is given, in its function or by those who call it."""
    if isinstance(node, ast.BoolOp):
        return [(one, function) for one in node.values]
    if not isinstance(node, ast.Name) or depth == 0 or function.is_inner(node):
        return []
    if node.id in function.values:
        return [(one, function) for one in function.values[node.id]]
    return origins.arguments(node.id, function) if node.id in function.parameters else []
