"""Inspects the callbacks of a spider that run in workers, one by one."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FunctionType

from scrapy_mpworkers.lint.capabilities import capabilities, failures
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Failure, Kind, Report, by_kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.memory import Memory
from scrapy_mpworkers.lint.outside import written_files
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.spiders import SpiderSource
from scrapy_mpworkers.lint.state import class_of
from scrapy_mpworkers.lint.syntax import find
from scrapy_mpworkers.wire.texts import named

logger = logging.getLogger(__name__)

#: Members of the engine by which a callback gets a page itself.
_OF_DOWNLOADS = ("crawl", "download", "download_async", "downloader", "schedule_request")
_YIELD = "a request that it yields, with a callback that goes on from there"
#: Methods by which a class says itself how it is pickled.
_OWN_PICKLING = frozenset({"__getstate__", "__reduce__", "__reduce_ex__"})
#: Parts of the crawl that a spider has under names of its own.
_OF_CRAWL = frozenset({"crawler", "settings"})


def callbacks_of(cls: type) -> tuple[str, ...]:
    """List the callbacks and errbacks of a spider, as far as the source of its own classes tells;
    none if that cannot be read."""
    try:
        return SpiderSource(cls).callbacks
    except Exception:  # as in inspect_spider
        logger.debug("%r could not be inspected", cls, exc_info=True)
        return ()


def inspect_spider(cls: type, names: Sequence[str]) -> dict[str, Report]:
    """Return what the source tells of those callbacks of a spider that run in workers, by name.

    An error in our own reading of it is part of the reports, and does not stop a crawl.
    """
    try:
        return _inspect(cls, names)
    except Exception as error:
        # The code may be in a style that nobody has thought of. It shall run all the same.
        logger.debug("%r could not be inspected", cls, exc_info=True)
        why = named(error)
        return {name: Report(cls, (), frozenset(), (), (), (name,), why) for name in names}


def with_missing(report: Report, missing: Mapping[str, str]) -> Report:
    """Add to the failures what a callback touches and no worker gets.

    Args:
        missing: why an attribute of the spider cannot be sent, by its name.
    """
    seen = {one.what for one in report.failures}
    added = [
        Failure(what, f"it cannot be sent there ({missing[name]})")
        for touched in report.capabilities
        if (name := touched.removeprefix("spider.")) in missing
        if (what := f"self.{name}") not in seen
    ]
    return report._replace(failures=(*report.failures, *added))


def _inspect(cls: type, names: Sequence[str]) -> dict[str, Report]:
    source = SpiderSource(cls)
    origins = Origins(source)
    memory = Memory(origins, source, names)
    reports = {}
    for name in names:
        roots = [name, *source.hooks]
        functions = source.reachable(roots)
        kinds = memory.of(name)
        files = written_files(origins, roots, ())
        findings = by_kind(kinds, (Kind.STATE, Kind.LOST, Kind.CACHE))
        used = capabilities(origins, functions) | _members(functions, source)
        used -= {one for one in used if _is_method(one.partition("spider.")[2], source)}
        fails = failures(origins, functions)
        more = (*_that_stay(functions, origins), *_certificates(name, functions))
        fails |= {one.what: one for one in more}
        by_place = tuple(sorted(map(_with_way_out, fails.values())))
        unread = tuple(source.unread)
        found, touched = (*findings, *files), tuple(sorted(used))
        reports[name] = Report(cls, found, frozenset(kinds), touched, by_place, unread)
    return reports


def _with_way_out(failure: Failure) -> Failure:
    member = failure.what.removeprefix("crawler.engine.")
    return failure._replace(instead=_YIELD) if member in _OF_DOWNLOADS else failure


def _members(functions: Iterable[Function], source: SpiderSource) -> set[str]:
    """Collect what is used of the spider itself, such as ``spider.name``."""
    nodes = ((node, function) for function in functions for node in function.nodes)
    names = {source.member(node, function) for node, function in nodes}
    return {f"spider.{name}" for name in names - _OF_CRAWL if name}


def _is_method(name: str, source: SpiderSource) -> bool:
    """Return whether it is one, or may be one, as in ``getattr(self, name)``."""
    if name in source.methods or name == "?":
        return True
    return any(isinstance(vars(base).get(name), FunctionType) for base in source.cls.__mro__)


def _that_stay(functions: Sequence[Function], origins: Origins) -> Iterator[Failure]:
    """Yield attributes that hold a file, a connection or a browser, which no worker gets."""
    for function in functions:
        for node in function.nodes:
            name = origins.source.member(node, function)
            values = origins.assignments.get(name, []) if name else []
            is_made_here = any(owner in functions for _, owner in values)
            is_of_class = any(not owner.name for _, owner in values)
            if not values or is_made_here or is_of_class:
                continue
            origin = _staying(name, origins)
            if origin:
                why = f"what {origin} makes cannot be sent there"
                yield Failure(f"self.{name}", why, function.module.location(node))


def _staying(name: str, origins: Origins) -> str:
    """Return what makes an object that cannot be sent, for the attribute or inside of the object
    of the project that it holds; empty if nothing is seen."""
    origin = origins.of_attribute(name)
    if _stays(origin):
        return origin
    for cls in filter(None, (class_of(*value) for value in origins.assignments[name])):
        inner = Origins(Source(cls))
        if not _OWN_PICKLING & inner.source.methods.keys():
            made = map(inner.of_attribute, inner.assignments)
            return next(filter(_stays, made), "")
    return ""


def _stays(origin: str) -> bool:
    """Return whether it is such an object itself, and not what one of its methods returns."""
    names = known().names
    beginnings = names["staying_modules"]
    is_made = origin.count("()") == 1 and origin.endswith("()")
    return is_made and (origin in names["staying"] or origin.startswith(beginnings))


def _certificates(name: str, functions: Sequence[Function]) -> Iterator[Failure]:
    for function in (one for one in functions if one.name == name and one.parameters):
        response = function.parameters[0]
        for node in find(function.nodes, ast.Attribute, lambda one: one.attr == "certificate"):
            if getattr(node.value, "id", "") == response:
                why = "it is None there, as a certificate cannot be sent to it"
                yield Failure(ast.unparse(node), why, function.module.location(node))
