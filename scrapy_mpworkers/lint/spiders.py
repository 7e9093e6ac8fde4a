"""Reads a spider, and tells which of its methods are callbacks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import find, last_name, text_of

#: Arguments by which requests and rules name a callback.
_KEYWORDS = frozenset({"callback", "errback"})
#: Functions that make requests, beside those whose name ends with ``Request``.
_MAKERS = frozenset({"follow", "follow_all", "from_response", "from_curl"})
#: Methods that run in a worker with the callback: of a rule, and of Scrapy's spiders.
_OF_LINKS = ("process_links", "process_request")
_OF_FEEDS = ("process_results", "adapt_response")
#: Parts of the usual names of a callback's first parameter.
_FIRST = ("resp", "fail")
#: Ways to define what a request cannot have as its callback.
_NO_METHODS = ("staticmethod", "classmethod", "property", "cached_property")


class SpiderSource(Source):
    """Reads a spider: its own classes, without those of Scrapy."""

    is_spider = True

    @cached_property
    def callbacks(self) -> tuple[str, ...]:
        """List the methods that are callbacks and errbacks by the source, in its order.

        A request or a rule names them, or they are called ``parse…``, or nobody of the spider calls
        them though they take a response.
        """
        uses: dict[str, set[str]] = {"named": set(), "called": set(), "mentioned": set()}
        for use, name in self._mentions():
            uses[use].add(name)
        named = uses["named"] | set(self._of_rules())
        found = []
        for name, (function, *_) in self.methods.items():
            if not function.parameters or _is_no_method(function):
                continue
            is_parse = name == "parse" or name.startswith("parse_")
            takes_response = any(word in function.parameters[0].lower() for word in _FIRST)
            is_called = name in uses["called"] - uses["mentioned"]
            is_like_one = is_parse and (takes_response or not is_called)
            is_left = takes_response and not is_called and not self._is_scrapys(name)
            if name in named or is_like_one or is_left:
                found.append(name)
        return tuple(found)

    @cached_property
    def hooks(self) -> tuple[str, ...]:
        """List the methods that Scrapy's own spiders call beside a callback, for the same page."""
        rules = _listed(self.cls, "rules")
        of_rules = {_name(getattr(rule, one, None)) for rule in rules for one in _OF_LINKS}
        return tuple(
            name
            for name in self.methods
            if name in of_rules or (name in _OF_FEEDS and self._is_scrapys(name))
        )

    def _is_scrapys(self, name: str) -> bool:
        """Return whether a spider of Scrapy has a method of that name, which the user replaces."""
        bases = (one for one in self.cls.__mro__ if one.__module__.startswith("scrapy."))
        return any(name in vars(base) for base in bases)

    def meant(self, node: ast.AST, function: Function) -> Function | None:
        """Return the method or function that runs there: no callback that is only named."""
        found = super().meant(node, function)
        if found is None or found.owner is None or found.name not in self.callbacks:
            return found
        call = function.parents.get(node)
        return found if isinstance(call, ast.Call) and call.func is node else None

    def _mentions(self) -> Iterator[tuple[str, str]]:
        """Yield (how, name) of each place that has a method: it is named as callback, or called."""
        for function in (one for methods in self.methods.values() for one in methods):
            for node in function.nodes:
                if isinstance(node, ast.keyword) and node.arg in _KEYWORDS:
                    yield "named", text_of(node.value)
                name = self.member(node, function)
                if name in self.methods:
                    yield _use(node, function), name

    def _of_rules(self) -> Iterator[str]:
        """Yield the names in the rules of a CrawlSpider and of a SitemapSpider."""
        written = [value for value, _ in self.class_values.values()]
        for keyword in (one for value in written for one in find(value, ast.keyword)):
            if keyword.arg in _KEYWORDS:
                yield text_of(keyword.value)
        for rule in _listed(self.cls, "rules"):
            yield from (_name(getattr(rule, one, None)) for one in sorted(_KEYWORDS))
        for pair in _listed(self.cls, "sitemap_rules"):
            yield _name(pair[1])


def _use(node: ast.AST, function: Function) -> str:
    around = function.parents.get(node)
    if isinstance(around, ast.keyword):
        return "named" if around.arg in _KEYWORDS else "mentioned"
    if not isinstance(around, ast.Call):
        return "mentioned"
    if around.func is node:
        return "called"
    maker = last_name(around.func)
    return "named" if maker in _MAKERS or maker.endswith("Request") else "mentioned"


def _is_no_method(function: Function) -> bool:
    return any(one.rpartition(".")[2] in _NO_METHODS for one in function.decorators)


def _listed(cls: type, name: str) -> list[Any]:
    found = getattr(cls, name, ())
    return list(found) if isinstance(found, (list, tuple)) else []


def _name(callback: Any) -> str:
    return callback if isinstance(callback, str) else getattr(callback, "__name__", "")
