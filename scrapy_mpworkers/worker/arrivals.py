"""Loads the parts of a crawl; in the place of a missing part, a stand-in raises with its name."""

from __future__ import annotations

import logging
import types
from typing import Any, NoReturn

from scrapy import Spider

from scrapy_mpworkers.errors import NotInWorkerError
from scrapy_mpworkers.wire.crawl import Carried, ClassState
from scrapy_mpworkers.wire.stand_in import StandIn
from scrapy_mpworkers.wire.texts import named
from scrapy_mpworkers.wire.worker_codec import WorkerCodec

logger = logging.getLogger(__name__)


class Unavailable(StandIn):
    """Stands for a part of the crawl that could not cross."""

    _what: str
    _why: str

    def __init__(self, what: str, why: str) -> None:
        self.__dict__.update(_what=what, _why=why)

    def __repr__(self) -> str:
        return f"<{self._what}: not available in a worker>"

    def refuse(self) -> NoReturn:
        refuse(self._what, f"it could not be sent there ({self._why})")


def _unhooked() -> type:
    """Make a base class that keeps the hooks of other bases from running for a rebuilt class."""

    # Each rebuilt class gets its own: Python finds no method order for some that share one.
    class Unhooked:
        def __init_subclass__(cls, **kwargs: Any) -> None: ...

    return Unhooked


class _Nothing:
    """Stands for bases that have not come."""

    def __init_subclass__(cls, **kwargs: Any) -> None: ...

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"spider.{name}", "the bases of its class could not be sent there")


class Arrivals:
    """Loads what has been carried.

    ``missing``: why a part has not come, by the name that the inspection of pipelines gives it.
    """

    def __init__(self, codec: WorkerCodec) -> None:
        self._codec = codec
        self._classes: dict[str, type] = {}
        self.missing: dict[str, str] = {}

    def value(self, carried: Carried, what: str) -> Any:
        if carried.frame is None:
            return self._stand_in(what, carried.why)
        try:
            return self._codec.load(carried.frame)
        # Classes of the user run their own code here. SystemExit would end the worker.
        except BaseException as error:
            return self._stand_in(what, named(error))

    def cls(self, state: ClassState) -> type:
        """Return the spider's class, or one that is rebuilt from those parts that have come."""
        if state.token not in self._classes:
            self._classes[state.token] = self._loaded(state)
        return self._classes[state.token]

    def _loaded(self, state: ClassState) -> type:
        if state.whole.frame is None:
            return self._made(state)
        try:
            return self._codec.load(state.whole.frame)  # type: ignore[no-any-return]
        except BaseException:  # as in value()
            if not state.bases:
                raise
            return self._made(state)

    def _made(self, state: ClassState) -> type:
        bases = (_unhooked(), *map(self.cls, state.bases))
        names = {"__module__": state.module, "__qualname__": state.qualname}
        try:
            cls = types.new_class(state.name, bases, {}, lambda body: body.update(names))
        except Exception as error:  # its metaclass wants more
            if all(type(base) is type for base in bases):
                raise
            logger.debug("%s is made in a worker without its bases: %s", state.name, named(error))
            cls = types.new_class(state.name, (_Nothing, Spider), {}, lambda _: None)
        self._codec.share(**{state.token: cls})
        for name, carried in state.own.items():
            setattr(cls, name, self.value(carried, f"spider.{name}"))
        return cls

    def _stand_in(self, what: str, why: str) -> Unavailable:
        self.missing[what] = why
        return Unavailable(what, why)


def refuse(
    what: str,
    why: str = "only Scrapy's own process has it",
    instead: str = "Make what is needed part of the item or the request, the settings or a "
    "picklable attribute of the spider",
) -> NoReturn:
    """Raise the error that names what a pipeline or a callback asked for."""
    error = NotInWorkerError(
        f"{what} is not available in a worker: {why}. {instead}; or keep the pipeline in "
        "ITEM_PIPELINES, the callback out of MPWORKERS_CALLBACKS."
    )
    error._sends_home = True
    raise error
