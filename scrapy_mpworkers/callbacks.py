"""Says which callbacks of a spider run in workers: those that are marked, or listed by name."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import cache
from inspect import isasyncgenfunction, isgeneratorfunction, signature
from typing import Any, NamedTuple, TypeAlias, TypeVar

from scrapy import Request, Spider
from scrapy.spiders import CrawlSpider
from scrapy.utils.asyncgen import as_async_generator

from scrapy_mpworkers.wire.callbacks import method_name

Results: TypeAlias = Iterable[Any] | AsyncIterator[Any]
_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])

_signature = cache(signature)
_MARK = "_scrapy_mpworkers_in_worker"

#: Least similarity (of difflib) at which a name counts as a misspelling of a spider's method.
_CLOSE = 0.87

#: Callbacks of Scrapy's own spiders (2.15 to 2.19), each with the user's methods that it calls: if
#: one of these is to run in a worker, the whole callback of Scrapy runs there.
_CALLED_FROM = {
    "_parse": (
        *("parse", "parse_start_url", "parse_with_rules"),  # Spider, CrawlSpider
        *("parse_node", "parse_nodes", "parse_row", "parse_rows"),  # XMLFeedSpider, CSVFeedSpider
    ),
    "_callback": ("parse_with_rules",),
}


def in_worker(callback: _FunctionT) -> _FunctionT:
    """Mark a method of a spider: as a callback or an errback it runs in a worker.

    It stays the method that it is, for whoever calls it, for tests and for ``scrapy check``.

    Args:
        callback: the method.

    Returns:
        the same method.
    """
    setattr(callback, _MARK, True)
    return callback


def has_marks(spidercls: type[Spider]) -> bool:
    """Return whether any method of a spider is marked."""
    return any(_is_marked(own) for cls in spidercls.__mro__ for own in list(vars(cls).values()))


def is_generator(spider: Spider, name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a call of a callback does nothing yet, since it is a generator.

    Args:
        name: of the spider's method.
        arguments: which it is given beside the response or failure; one that it does not take is an
            error at the call.
    """
    function = _function(spider, name)
    # Methods that Scrapy's own spiders give to requests return generators.
    if not isgeneratorfunction(function) and not isasyncgenfunction(function):
        of_scrapy = (function.__module__ or "").startswith("scrapy.")
        return of_scrapy and function is not Spider.parse
    try:
        _signature(function).bind(spider, None, **arguments)
    except TypeError:
        return False
    return True


def is_asynchronous(spider: Spider, name: str) -> bool:
    """Return whether a callback is an async generator, whose results cannot be plain ones."""
    if isinstance(spider, CrawlSpider) and name in ("_parse", "_callback"):
        return True
    return isasyncgenfunction(_function(spider, name))


def _function(spider: Spider, name: str) -> Any:
    function = getattr(type(spider), name)
    return type(spider).parse if function is Spider._parse else function


def rule_of(spider: Spider, request: Request) -> str | None:
    """Return the method that a CrawlSpider's rule names for the response of *request*."""
    index = request.meta.get("rule")
    rules = getattr(spider, "_rules", ())
    if not isinstance(rules, list) or not isinstance(index, int) or not 0 <= index < len(rules):
        return None
    return method_name(spider, rules[index].callback)


def shown(spider: Spider, name: str, request: Request | None = None) -> str:
    """Return a callback's name as the user knows it, not that of Scrapy's method which calls it.

    Args:
        request: whose callback it is; a CrawlSpider's rule says more.
    """
    cls = type(spider)
    if getattr(cls, name, None) is Spider._parse:
        return "parse"
    if name == "_callback" and request is not None:
        return rule_of(spider, request) or name
    called = _CALLED_FROM.get(name, ())
    return next((one for one in called if _is_of_user(getattr(cls, one, None))), name)


async def when_asked_for(called: Callable[[], Awaitable[Results]]) -> AsyncIterator[Any]:
    """Call a generator when its first result is wanted, as Python does.

    By then the spider middlewares have begun, and may have put something into ``meta``.
    """
    async for result in as_async_generator(await called()):
        yield result


class Reason(NamedTuple):
    """Says why a callback is to run in a worker.

    ``why``: in a few words; ``way_out``: what the user may do so that it runs in Scrapy's process.
    """

    why: str
    way_out: str = ""


BY_MARK = Reason("marked with @in_worker", "take its mark @in_worker away")
BY_NAME = Reason("named in MPWORKERS_CALLBACKS", "take it out of MPWORKERS_CALLBACKS")
ONE_OF_ALL = Reason("MPWORKERS_CALLBACKS is True")


def chosen(
    spidercls: type[Spider], wanted: Iterable[str] | bool, callbacks: Iterable[str]
) -> dict[str, Reason]:
    """Map the callbacks of a spider that are to run in workers to the reason.

    Args:
        wanted: as in :class:`Choice`.
        callbacks: all that the spider has, of which ``True`` wants each.
    """
    found: dict[str, Reason] = {}
    if isinstance(wanted, bool):
        found |= dict.fromkeys(callbacks if wanted else (), ONE_OF_ALL)
    else:
        own = (_own_name(spidercls, name) for name in wanted)
        found |= dict.fromkeys((name for name in own if hasattr(spidercls, name)), BY_NAME)
    names = dict.fromkeys(name for cls in spidercls.__mro__ for name in list(vars(cls)))
    marked = (name for name in names if _has_mark(spidercls, name))
    return found | dict.fromkeys(marked, BY_MARK)


class Absent(NamedTuple):
    """Says that a spider has no method of a name: in a line, and which ``likely`` one was meant."""

    line: str
    likely: str


def not_there(spidercls: type[Spider], wanted: Iterable[str] | bool) -> list[Absent]:
    """List what is to be said of each name for which the spider has no method."""
    names = () if isinstance(wanted, bool) else tuple(wanted)
    found = []
    for name in names:
        if hasattr(spidercls, _own_name(spidercls, name)):
            continue
        likely = _likely(spidercls, name, names)
        line = f"MPWORKERS_CALLBACKS lists {name}, but {spidercls.__qualname__} has no such method"
        found.append(Absent(f"{line}. Did you mean {likely}?" if likely else line, likely))
    return found


def _likely(spidercls: type[Spider], name: str, names: Iterable[str]) -> str:
    """Return the method that was meant, unless the name is one of another spider."""
    path, _, method = name.rpartition(".")
    paths = _paths(spidercls)
    if path == "self" or any(f".{one}".endswith(f".{path}") for one in paths if path):
        if hasattr(spidercls, method):
            return method
    elif path:
        return ""
    own = [one for one in dir(spidercls) if one not in names and not one.startswith("__")]
    return next(iter(difflib.get_close_matches(method, own, n=1, cutoff=_CLOSE)), "")


class Choice:
    """Says which callbacks of a spider run in workers.

    Args:
        wanted: names of its methods, alone or behind the path of its class; ``True``: all.

    Attributes:
        stays: those that cannot, by name, with the reason.
    """

    def __init__(self, spider: Spider, wanted: Iterable[str] | bool) -> None:
        self._spider = spider
        self._all = wanted is True
        names = () if isinstance(wanted, bool) else wanted
        self._names = {_own_name(type(spider), name) for name in names}
        self.stays: dict[str, str] = {}
        self._known: dict[tuple[str, str | None], bool] = {}

    def is_wanted(self, name: str, rule: str | None) -> bool:
        """Return whether a callback runs in a worker.

        Args:
            name: of the method that the request has.
            rule: of the one that a CrawlSpider's rule names for this response.
        """
        key = name, rule
        if key not in self._known:
            self._known[key] = any(map(self._is_meant, _stands_for(name, rule)))
        return self._known[key] and not self._must_stay(name, rule)

    def _must_stay(self, name: str, rule: str | None) -> bool:
        return bool(self.stays) and any(one in self.stays for one in _stands_for(name, rule))

    def _is_meant(self, name: str) -> bool:
        return self._all or name in self._names or _has_mark(type(self._spider), name)


def _stands_for(name: str, rule: str | None) -> Iterator[str]:
    yield name
    yield from _CALLED_FROM.get(name, ())
    if rule is not None:
        yield rule


def _own_name(cls: type, name: str) -> str:
    path, _, method = name.rpartition(".")
    return method if not path or path in _paths(cls) else ""


def _paths(cls: type) -> list[str]:
    return [f"{one.__module__}.{one.__qualname__}" for one in cls.__mro__]


def _is_of_user(function: Any) -> bool:
    return function is not None and not function.__module__.startswith("scrapy.")


def _has_mark(cls: type, name: str) -> bool:
    try:
        return _is_marked(getattr(cls, name, None))
    except Exception:  # a descriptor of the user
        return False


def _is_marked(function: Any) -> bool:
    try:
        return getattr(function, _MARK, False) is True
    except Exception:  # a lazy proxy among the attributes, whose object is not there yet
        return False
