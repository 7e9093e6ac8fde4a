"""Pickles a callback with its request and response, on Scrapy's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

from scrapy import Spider
from scrapy.http import Request, Response

from scrapy_mpworkers.wire import tokens
from scrapy_mpworkers.wire.callbacks import CallbackTask, own_attributes, reduced_method
from scrapy_mpworkers.wire.codec import Frame, ParentCodec, ParentPickler
from scrapy_mpworkers.wire.definitions import Definitions
from scrapy_mpworkers.wire.pickling import OF_CALLBACK, unpicklable
from scrapy_mpworkers.wire.texts import named


def dump_callback(codec: ParentCodec, spider: Spider, task: CallbackTask) -> Frame:
    """Pickle a callback. What of its request cannot be pickled stays, and comes back as itself.

    Raises:
        UnpicklableError: the response cannot be pickled.
    """
    fresh = codec.pickler(partial(CallbackPickler, spider))
    try:
        return fresh().pickled(tuple(task))
    except BaseException:  # classes of the user run their own code here
        kept = task._replace(request=_KeptRequest(task.request, fresh))
    try:
        return fresh().pickled(tuple(kept))
    except BaseException as error:
        raise unpicklable(kept, error, fresh, OF_CALLBACK) from error


def dump_request(codec: ParentCodec, spider: Spider, request: Request) -> Frame:
    """Pickle a request for another process; what cannot be pickled is ``None`` there."""
    fresh = codec.pickler(partial(CallbackPickler, spider))
    try:
        return fresh().pickled(request)
    except BaseException:  # as above
        return fresh().pickled(_KeptRequest(request, fresh, leaves_out=True))


class _Kept(NamedTuple):
    """A part of a request that stays in Scrapy's process: where it belongs, and why."""

    value: Any
    what: str
    why: str


class _KeptRequest:
    """A request, some parts of which cannot be pickled.

    Args:
        leaves_out: those parts become ``None``.
    """

    def __init__(
        self, request: Request, fresh: Callable[[], ParentPickler], leaves_out: bool = False
    ) -> None:
        self._fresh = fresh
        self._leaves_out = leaves_out
        cls, state = type(request), _state_of(request)
        kept = {name: self._part(name, value) for name, value in state.items()}
        for name in ("_meta", "_cb_kwargs"):
            inside = state.get(name) or {}
            shown = name.lstrip("_")
            kept[name] = {k: self._part(f"{shown}[{k!r}]", v) for k, v in inside.items()} or None
        self.reduced = rebuild_request, (cls, kept)

    def _part(self, what: str, value: Any) -> Any:
        try:
            self._fresh().pickled(value)
        except BaseException as error:  # classes of the user run their own code here
            return None if self._leaves_out else _Kept(value, what, named(error))
        return value


def _state_of(request: Request) -> dict[str, Any]:
    """Return all attributes of a request: Scrapy 2.19 keeps them in slots, others in a dict."""
    reduced: Any = request.__reduce_ex__(2)
    state = reduced[2]
    parts = state if isinstance(state, tuple) else (state,)
    return {name: value for part in parts if part for name, value in part.items()}


def rebuild_request(cls: type[Request], state: dict[str, Any]) -> Request:
    """Make a request from its attributes, without its ``__init__``."""
    request = cls.__new__(cls)
    for name, value in state.items():
        object.__setattr__(request, name, value)
    return request


class CallbackPickler(ParentPickler):
    """Pickles a callback with its request: methods of the spider by name."""

    def __init__(self, spider: Spider, definitions: Definitions, names: Mapping[int, str]) -> None:
        super().__init__(definitions, names)
        self._spider = spider

    def _reduced(self, part: Any) -> Any:
        if isinstance(part, MethodType) and part.__self__ is self._spider:
            return reduced_method(part)
        if isinstance(part, _Kept):
            self._handles.append(part.value)
            return tokens.at_home, (len(self._handles) - 1, part.what, part.why)
        if isinstance(part, _KeptRequest):
            return part.reduced
        reduced = super()._reduced(part)
        if isinstance(part, Response) and (own := own_attributes(part)):
            return reduced[0], (*reduced[1], own)
        return reduced
