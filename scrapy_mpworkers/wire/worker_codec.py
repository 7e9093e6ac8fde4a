"""A worker's side of the process boundary: opens frames, dumps what has become of the items."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle
from scrapy.http import Response

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire import tokens
from scrapy_mpworkers.wire.callbacks import reduced_method
from scrapy_mpworkers.wire.entries import MAINS
from scrapy_mpworkers.wire.importing import Definable, Importing, imported
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.wire.pickling import (
    OF_CALLBACK,
    Codec,
    Pickler,
    Resolvers,
    has_tokens,
    loads,
    unpicklable,
)
from scrapy_mpworkers.wire.stand_in import NO_REQUEST, AtHome
from scrapy_mpworkers.wire.texts import named


class Handles:
    """Responses that came with an item, and their numbers in its frame, by id."""

    __slots__ = ("numbers", "responses")

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.responses: dict[int, Response] = {}  # an id is unique only while its object lives


_NONE = Handles()  # of items without any
#: The file of each function that cloudpickle (3.1.2) pickles.
_NO_FILE = "<dynamic-code>"


class WorkerCodec(Codec[bytes]):
    """A worker's side of the process boundary; ``handles``: of the item that it works on."""

    def __init__(self) -> None:
        super().__init__({})
        self._pickler = partial(_WorkerPickler, self._names, self)
        self._result_pickler = partial(_ResultPickler, self._names, self)
        self._defined: dict[int, Any] = {}
        self._undefined: dict[int, BaseException] = {}
        self._numbers: dict[int, int] = {}
        self._importing = Importing()
        self._importable: dict[int, Definable] = {}  # by id: those bound to their own names
        self._made: WeakKeyDictionary[type, Any] = WeakKeyDictionary()
        self.handles = Handles()

    def define(self, definitions: Iterable[Definition]) -> None:
        """Learn definitions that coming frames need; one that cannot be loaded makes these fail."""
        for definition in definitions:
            try:
                self.learn(definition.number, pickle.loads(definition.blob))
            except BaseException as error:  # code of the user: SystemExit would end the worker
                self._undefined[definition.number] = error

    def learn(self, number: int, obj: Any) -> None:
        """Let *number* stand for *obj* in frames."""
        self._defined[number] = obj
        self._numbers[id(obj)] = number

    def _definition(self, number: int) -> Any:
        if number in self._undefined:
            error = self._undefined[number]
            raise UnpicklableError(
                "a class or function that is sent by value cannot be made in a worker "
                f"({named(error)}). Move it to a module that workers can import."
            ) from error
        return self._defined[number]

    @property
    def spider(self) -> Any:
        """Return the spider of this worker."""
        return self._shared["spider"]

    def answer(self, handles: Handles) -> None:
        """Dump from now on what became of the item that came with *handles*."""
        self.handles = handles

    def load(self, data: bytes | memoryview) -> Any:
        """Unpickle a frame. Its responses go back as handles, by :attr:`handles`."""
        self.handles = _NONE
        return self.load_more(data) if has_tokens(data) else pickle.loads(data)

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
            "at_home": AtHome,
            "defined": self._definition,
        }
        return loads(data, resolvers)

    def dump_result(self, result: Any) -> bytes:
        """Pickle what a callback has yielded: methods of the spider by name, other functions by
        value.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        try:
            return self._result_pickler().pickled(result)
        except BaseException as error:  # classes of the user run their own code here
            raise unpicklable(result, error, self._result_pickler, OF_CALLBACK) from error

    def _response(self, number: int, *made_from: Any) -> Response:
        response = tokens.made_response(*made_from)
        response.request = NO_REQUEST  # type: ignore[assignment]
        self.handles.numbers[id(response)] = number
        self.handles.responses[number] = response
        return response

    def goes_back_as_itself(self, value: Any) -> bool:
        """Return whether Scrapy's process gets its own object for *value*, and no copy."""
        is_handle = type(value) is AtHome or id(value) in self.handles.numbers
        return is_handle or id(value) in self._names

    def reduced(self, part: Any) -> Any:
        """Return how a response, class or function goes back; ``None``: like all else."""
        if isinstance(part, Response) and id(part) in self.handles.numbers:
            return tokens.handle, (self.handles.numbers[id(part)],)
        if type(part) is AtHome:
            return tokens.handle, (part.number,)
        if isinstance(part, (type, FunctionType)):
            if id(part) in self._numbers:
                return tokens.defined, (self._numbers[id(part)],)
            if id(part) not in self._importable:
                return self._reduced_definition(part)
        return None

    def _reduced_definition(self, part: Definable) -> Any:
        """Return how a class or function goes back that did not come with a number."""
        if self._importing.finds(part):
            self._importable[id(part)] = part
            return None
        if part.__module__ in MAINS and "<" not in part.__qualname__:
            return tokens.in_main, (part.__qualname__,)
        if isinstance(part, FunctionType):
            return None  # left to fail; the error names the field
        if part not in self._made:
            binding = self._importing.elsewhere(part)
            own = (pickle.loads, (cloudpickle.dumps(part, protocol=5),))
            self._made[part] = own if binding is None else (imported, (*binding, "", None))
        return self._made[part]


class _WorkerPickler(Pickler[bytes]):
    home = tokens.HOME

    def __init__(self, names: Mapping[int, str], codec: WorkerCodec) -> None:
        super().__init__(names)
        self._codec = codec

    def pickled(self, obj: Any) -> bytes:
        self.dump(obj)
        self.clear_memo()  # it would keep the object alive
        if self._mark is None and len(self._parts) == 1:
            return self._parts.pop()
        return bytes(self._gathered())

    def _reduced(self, part: Any) -> Any:
        reduced = self._codec.reduced(part)
        return super()._reduced(part) if reduced is None else reduced


class _ResultPickler(_WorkerPickler, cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what a callback yields: requests have callbacks, which may be lambdas."""

    def reducer_override(self, part: Any) -> Any:
        if isinstance(part, MethodType):
            if part.__self__ is self._codec.spider:
                return reduced_method(part)
            if getattr(part.__self__, part.__name__, None) == part:
                # cloudpickle would copy the function of a class method.
                return getattr, (part.__self__, part.__name__)
        if isinstance(part, CodeType):
            # cloudpickle leaves out the file, where Scrapy looks for the source of a callback.
            reduced: Any = self.dispatch_table[CodeType](part)
            parts = (part.co_filename if one == _NO_FILE else one for one in reduced[1])
            return reduced[0], tuple(parts)
        reduced = super().reducer_override(part)
        if reduced is NotImplemented:
            reduced = cloudpickle.Pickler.reducer_override(self, part)
        return reduced
