"""Stand-ins for objects that have stayed in Scrapy's process, which say so when they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from scrapy_mpworkers.errors import NoRequestError, NotInWorkerError

_BINARY = (
    *("add", "and", "divmod", "floordiv", "lshift", "matmul", "mod", "mul", "or", "pow"),
    *("rshift", "sub", "truediv", "xor"),
)
#: Any use but a look at its identity, its type and, for whoever debugs, its repr.
_USES = (
    *_BINARY,
    *(f"r{name}" for name in _BINARY),
    *("eq", "ne", "lt", "le", "gt", "ge", "hash", "bool", "str", "format", "bytes", "fspath"),
    *("int", "float", "complex", "index", "abs", "neg", "pos", "invert", "round"),
    *("len", "iter", "next", "reversed", "contains", "getitem", "setitem", "delitem"),
    *("call", "enter", "exit", "await", "aiter", "anext", "aenter", "aexit"),
    *("getattr", "setattr", "delattr", "reduce_ex"),
)


class StandIn:
    """Raises an error at any use; each subclass says which.

    A copy is the same stand-in, since settings are copied as a whole.
    """

    def refuse(self) -> NoReturn:
        """Raise the error that names what is missing."""
        raise NotImplementedError

    def __copy__(self, memo: Any = None) -> StandIn:
        return self

    __deepcopy__ = __copy__


def _use(self: StandIn, *args: Any, **kwargs: Any) -> NoReturn:
    self.refuse()


for _name in _USES:
    setattr(StandIn, f"__{_name}__", _use)


class NoRequest(StandIn):
    """Stands for the request of a response that has come to a worker.

    Its error is no AttributeError: ``Response.meta`` would put Scrapy's own in its place, which
    knows nothing of workers.
    """

    def refuse(self) -> NoReturn:
        raise NoRequestError(
            "scrapy_mpworkers: in a worker a response has no request, and so no meta and no "
            "cb_kwargs: they stay in Scrapy's own process. Put what the pipeline needs into the "
            "item, or keep the pipeline in ITEM_PIPELINES."
        )

    def __repr__(self) -> str:
        return "<the request of a response: not available in a worker>"

    def __eq__(self, other: object) -> bool:
        return other is None or other is self

    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[[], Any], tuple[()]]:
        # A response that was made from it, with replace() for one, goes back without a request.
        return type(None), ()


#: The request of all responses in a worker.
NO_REQUEST = NoRequest()


class AtHome(StandIn):
    """Stands for a part of a request that has stayed in Scrapy's process, as it cannot be pickled.

    It goes back as that very object.

    Args:
        number: among the objects that the frame has left behind.
        what: where it belongs, such as ``meta['page']``.
        why: it cannot be pickled.
    """

    number: int
    _what: str
    _why: str

    def __init__(self, number: int, what: str, why: str) -> None:
        self.__dict__.update(number=number, _what=what, _why=why)

    def refuse(self) -> NoReturn:
        error = NotInWorkerError(
            f"{self._what} has stayed in Scrapy's own process, as it cannot be pickled "
            f"({self._why}). A callback in a worker may pass it on and not use it: put plain data "
            "there, or take that callback out of MPWORKERS_CALLBACKS."
        )
        error._sends_home = True
        raise error

    def __repr__(self) -> str:
        return f"<{self._what}: not available in a worker>"
