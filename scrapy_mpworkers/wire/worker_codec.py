"""The same for a worker: it opens frames, and dumps what has become of the items."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle
from scrapy.http import Response

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire import tokens
from scrapy_mpworkers.wire.entries import MAINS
from scrapy_mpworkers.wire.importing import Definable, Importing, imported
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.wire.pickling import (
    KEPT,
    Pickler,
    Resolvers,
    has_tokens,
    loads,
    unpicklable,
)
from scrapy_mpworkers.wire.stand_in import NO_REQUEST


class Handles:
    """The responses that came with an item, and their numbers in its frame, by id."""

    __slots__ = ("numbers", "responses")

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.responses: dict[int, Response] = {}  # an id is unique only while its object lives


_NONE = Handles()  # of items without any


class WorkerCodec:
    """A worker's side of the wall."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._defined: dict[int, Any] = {}
        self._undefined: dict[int, BaseException] = {}
        self._numbers: dict[int, int] = {}
        self._importing = Importing()
        self._importable: dict[int, Definable] = {}  # by id: those bound to their own names
        self._made: WeakKeyDictionary[type, Any] = WeakKeyDictionary()
        self.handles = Handles()
        self._idle: list[Pickler] = []

    def share(self, **objects: Any) -> None:
        """Name the worker's own objects that stand for the parent's."""
        self._shared.update(objects)
        self._names = {id(obj): name for name, obj in self._shared.items()}

    def define(self, definitions: Iterable[Definition]) -> None:
        """Learn what the coming frames refer to; what cannot be loaded is an error of theirs."""
        for definition in definitions:
            try:
                self.learn(definition.number, pickle.loads(definition.blob))
            except BaseException as error:  # code of the user: SystemExit would end the worker
                self._undefined[definition.number] = error

    def learn(self, number: int, obj: Any) -> None:
        """What frames mean by *number*."""
        self._defined[number] = obj
        self._numbers[id(obj)] = number

    def _definition(self, number: int) -> Any:
        if number in self._undefined:
            error = self._undefined[number]
            raise UnpicklableError(
                "a class or function that is sent by value cannot be made in a worker "
                f"({type(error).__name__}: {error}). Move it to a module that workers can import."
            ) from error
        return self._defined[number]

    def load(self, data: bytes | memoryview) -> Any:
        """Unpickle a frame. Its responses go back as handles, by :attr:`handles`."""
        self.handles = _NONE
        return self.load_more(data)

    def load_more(self, data: bytes | memoryview) -> Any:
        """Unpickle what a worker has made of the item in the last frame."""
        if not has_tokens(data):
            return pickle.loads(data)
        if self.handles is _NONE:
            self.handles = Handles()
        resolvers: Resolvers = {
            "shared": self._shared.__getitem__,
            "response": self._response,
            "handle": self.handles.responses.__getitem__,
            "defined": self._definition,
        }
        return loads(data, tokens.__name__, resolvers)

    def dump(self, obj: Any, shown: Any = None) -> bytes:
        """Pickle what goes back.

        Args:
            obj: what to pickle.
            shown: what the error tells of, if *obj* is only the wire form of it.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        try:
            # Taken out while it works: other threads, and classes of the user, may dump as well.
            pickler = self._idle.pop()
        except IndexError:
            pickler = self._pickler()
        try:
            data = pickler.dumps(obj)
        except BaseException as error:
            raise unpicklable(obj if shown is None else shown, error, self._pickler) from error
        if pickler.__sizeof__() <= KEPT:
            self._idle.append(pickler)
        return data

    def _pickler(self) -> Pickler:
        return _WorkerPickler(self.reduced)

    def _response(self, number: int, cls: type[Response], kwargs: dict[str, Any]) -> Response:
        response = cls(**kwargs)
        response.request = NO_REQUEST  # type: ignore[assignment]
        self.handles.numbers[id(response)] = number
        self.handles.responses[number] = response
        return response

    def reduced(self, part: Any) -> Any:
        """How *part* goes back."""
        if isinstance(part, Response) and id(part) in self.handles.numbers:
            return tokens.handle, (self.handles.numbers[id(part)],)
        if isinstance(part, (type, FunctionType)):
            if id(part) in self._numbers:
                return tokens.defined, (self._numbers[id(part)],)
            if id(part) not in self._importable:
                reduced = self._reduced_definition(part)
                if reduced is not None:
                    return reduced
        return tokens.reduce_common(part, self._names)

    def _reduced_definition(self, part: Definable) -> Any:
        """How a class or function goes back that did not come with a number."""
        if self._importing.finds(part):
            self._importable[id(part)] = part
            return None
        if part.__module__ in MAINS and "<" not in part.__qualname__:
            return tokens.in_main, (part.__qualname__,)
        if isinstance(part, FunctionType):
            return None  # left to fail; the error names the field
        if part not in self._made:
            place = self._importing.elsewhere(part)
            own = (pickle.loads, (cloudpickle.dumps(part, protocol=5),))
            self._made[part] = own if place is None else (imported, (*place, "", None))
        return self._made[part]


class _WorkerPickler(Pickler):
    def __init__(self, reduced: Callable[[Any], Any]) -> None:
        super().__init__(tokens.ALL, tokens.HOME)
        self._ask = reduced

    def _reduced(self, part: Any) -> Any:
        return self._ask(part)
