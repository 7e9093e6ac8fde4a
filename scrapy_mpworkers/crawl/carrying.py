"""What a worker may need of the crawl, each part by itself: no part keeps the others at home."""

from __future__ import annotations

import itertools
from typing import Any

from scrapy import Spider

from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.crawl import Carried, ClassState, SpiderState
from scrapy_mpworkers.wire.texts import named

#: Of a class: what it has without being told, and what would work on the stand-in itself.
_NOT_CARRIED = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "__doc__"),
        *("__abstractmethods__", "_abc_impl"),
        *("__new__", "__del__", "__getattribute__", "__setattr__", "__init_subclass__"),
    }
)


class Carrier:
    """Pickles the parts of a crawl's Setups.

    ``needs``: the definitions that their frames refer to.
    """

    def __init__(self, codec: ParentCodec) -> None:
        self._codec = codec
        self.needs: dict[int, None] = {}
        self._classes: dict[type, ClassState] = {}
        self._numbers = itertools.count()

    def must_carry(self, value: Any) -> bytes:
        """A part that is needed.

        Raises:
            Exception: it cannot be pickled.
        """
        return self._noted(self._codec.dump_part(value))

    def carry(self, value: Any) -> Carried:
        """A part that is perhaps never touched."""
        try:
            return Carried(self.must_carry(value))
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            return _stays(error)

    def spider(self, spider: Spider) -> SpiderState:
        """The spider, without what a worker's own crawler gives it."""
        attributes = {
            name: self.carry(value)
            for name, value in spider.__dict__.items()
            if name not in ("crawler", "settings")
        }
        return SpiderState(self._class(type(spider)), attributes)

    def _class(self, cls: type) -> ClassState:
        if cls not in self._classes:
            self._classes[cls] = self._judged(cls)
        return self._classes[cls]

    def _judged(self, cls: type) -> ClassState:
        whole, names = self.carry(cls), (cls.__name__, cls.__module__, cls.__qualname__)
        state = ClassState(whole, f"class {next(self._numbers)} of the spider", *names)
        if cls is object or cls.__module__.partition(".")[0] == "scrapy":
            return state
        carry = self.carry
        if whole.frame is None:
            # Their functions may refer to the class, which is what could not be pickled.
            self._codec.share(**{state.token: cls})
            carry = self._carry_member
        elif self._codec.imports(cls):
            carry = _stays_in_module
        # Before the attributes, whose functions may refer to the bases.
        bases = tuple(map(self._class, cls.__bases__))
        own = {name: value for name, value in vars(cls).items() if name not in _NOT_CARRIED}
        return state._replace(own={name: carry(one) for name, one in own.items()}, bases=bases)

    def _carry_member(self, value: Any) -> Carried:
        try:
            return Carried(self._noted(self._codec.dump_member(value)))
        except BaseException as error:  # as in carry()
            return _stays(error)

    def _noted(self, frame: Frame) -> bytes:
        self.needs.update(dict.fromkeys(frame.needs))
        return bytes(frame.data)


def _stays(error: BaseException) -> Carried:
    return Carried(None, named(error if error.__cause__ is None else error.__cause__))


def _stays_in_module(value: Any) -> Carried:
    # A worker imports it with its class; however large it is, it need not cross.
    return Carried(None, "the module of its class cannot be imported there")
