"""What a pipeline uses of crawler and spider, and what of it no worker has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import CRAWLER, SETTINGS, SPIDER, Origins
from scrapy_mpworkers.lint.findings import Failure
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.responses import severed
from scrapy_mpworkers.lint.source import Source

_OF_ENGINE = frozenset({"close_spider", "close_spider_async"})
_SIGNALS = frozenset({"spider_opened", "spider_closed"})
_READERS = r"(?:get|getbool|getint|getfloat|getlist|getdict|getwithbase|getdictorlist)"

_TWISTED = ("twisted.", "treq")
_SEVERED = "a response comes to a worker without its request"
_COPIED = "what the spider has copied into the item: item[...] = response.meta[...]"


def touches(source: Source, origins: Origins) -> tuple[str, ...]:
    """``settings['X']``, ``stats``, ``signals.spider_closed``, ``spider.name``, …; sorted."""
    found = {one for node, function in _uses(origins) for one in _touched(node, function, origins)}
    return tuple(sorted(found))


def failures(source: Source, origins: Origins) -> tuple[Failure, ...]:
    """What would raise, or never happen, in a worker, each at the first place of it; sorted."""
    found: dict[str, Failure] = {}
    # Rather where the name of a module stands than where what was made of it is handed on.
    for node, function in sorted(_uses(origins), key=_is_handed_on):
        for failure in (*_of_crawl(node, function, origins), *_of_reactor(node, function, origins)):
            found.setdefault(failure.what, failure._replace(where=function.module.place(node)))
    for node, function in severed(origins):
        what = ast.unparse(node)
        found.setdefault(what, Failure(what, _SEVERED, function.module.place(node), _COPIED))
    return tuple(sorted(found.values()))


def _is_handed_on(use: tuple[ast.AST, Function]) -> bool:
    node, function = use
    while isinstance(node, ast.Attribute):
        node = node.value
    name = getattr(node, "id", "")
    return name not in function.imports and name not in function.module.imports


def _of_crawl(node: ast.AST, function: Function, origins: Origins) -> Iterator[Failure]:
    for touched in _touched(node, function, origins):
        yield from _failing(touched)


def _of_reactor(node: ast.AST, function: Function, origins: Origins) -> Iterator[Failure]:
    path = (origins.of(node, function) or "").replace("()", "")
    if path.startswith(_TWISTED) and function.is_for_either_loop(node):
        return
    for name, (why, instead) in known().reactor.items():
        if path == name or path.startswith(f"{name}."):
            yield Failure(name, why, instead=instead)
            return


def _uses(origins: Origins) -> Iterator[tuple[ast.AST, Function]]:
    """Names and members, each with all that is done with it at that spot."""
    for function in origins.functions:
        for node in function.nodes:
            is_inner = isinstance(function.parents.get(node), ast.Attribute)
            is_getattr = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr"
            if not is_inner and (is_getattr or isinstance(node, (ast.Attribute, ast.Name))):
                yield node, function


def _touched(node: ast.AST, function: Function, origins: Origins) -> Iterator[str]:
    path = origins.of(node, function) or ""
    if not path.startswith((f"{CRAWLER}.", f"{SPIDER}.")):
        return
    first, _, rest = path.partition(".")
    word = re.split(r"[.(\[]", rest)[0]
    if first == SPIDER:
        yield f"spider.{word}"
    elif word == "settings":
        yield from _setting(path, node, function)
    elif word == "signals":
        yield from _signal(path, node, function)
    elif word == "engine":
        member = rest.split(".")[1:2]
        yield "engine." + re.split(r"[(\[]", member[0])[0] if member else "engine"
    elif word in ("stats", "spider", "spidercls"):
        yield word
    else:
        yield f"crawler.{word}"


def _setting(path: str, node: ast.AST, function: Function) -> Iterator[str]:
    parent = function.parents.get(node)
    argument: ast.AST | None = None
    if isinstance(parent, ast.Subscript) and parent.value is node:
        argument = parent.slice
    elif re.search(rf"settings\.{_READERS}$", path) and isinstance(parent, ast.Call):
        argument = parent.args[0] if parent.args else None
    elif path != SETTINGS:
        return
    if isinstance(argument, ast.Constant):
        yield f"settings[{argument.value!r}]"
    elif not isinstance(parent, (ast.Assign, ast.keyword)):
        yield "settings"


def _signal(path: str, node: ast.AST, function: Function) -> Iterator[str]:
    parent = function.parents.get(node)
    if isinstance(parent, ast.Assign):
        return  # a short name for it
    if path != f"{CRAWLER}.signals.connect" or not isinstance(parent, ast.Call):
        yield "signals"
        return
    given = [*parent.args[1:2], *(one.value for one in parent.keywords if one.arg == "signal")]
    name = given[0] if given else None
    word = getattr(name, "attr", getattr(name, "id", "?"))
    yield f"signals.{word}"


def _failing(touched: str) -> Iterator[Failure]:
    first, _, rest = touched.partition(".")
    if first == "signals" and rest and rest not in (*_SIGNALS, "?"):
        yield Failure(f"signals.{rest}", "this signal is never sent in a worker")
    elif first == "engine" and rest and rest not in _OF_ENGINE:
        yield Failure(f"crawler.{touched}", "only Scrapy's own process has it")
    elif first == "crawler":
        yield Failure(touched, "only Scrapy's own process has it")
