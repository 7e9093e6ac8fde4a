"""Builds and runs the user's pipelines of one hop, or the function that a call names.

Scrapy's own ItemPipelineManager builds, opens and closes them: it gives ``from_crawler``,
``NotConfigured``, the ``spider`` argument and ``async`` methods exactly as in the crawl.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from scrapy.pipelines import ItemPipelineManager
from scrapy.settings import BaseSettings
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object
from scrapy.utils.python import global_object_name

from scrapy_mpworkers.batches import ends_of
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.wire.entries import as_pipeline

#: Awaits its argument; in a worker, an await that can never end is an error instead of a hang.
Guard = Callable[[Awaitable[Any]], Awaitable[Any]]


class HopPipelines(ItemPipelineManager):
    """Has the pipelines of one hop."""

    component_name = "worker item pipeline"
    entries: ClassVar[Sequence[Any]] = ()

    @classmethod
    def _get_mwlist_from_settings(cls, settings: BaseSettings) -> list[Any]:
        loaded = [_loaded(entry, settings) for entry in cls.entries]
        for pipeline in loaded:
            refuse_unfit(pipeline)
        return loaded

    @property
    def takes_batches(self) -> bool:
        return any(hasattr(pipeline, "process_batch") for pipeline in self.middlewares)

    def watch(self, around: Callable[..., Awaitable[Any]]) -> None:
        """Have *around* called with each method and its arguments, until :meth:`unwatch`."""
        for name in ("process", "process_batched"):
            setattr(self, name, partial(around, getattr(self, name)))

    def unwatch(self) -> None:
        """Leave the methods as they were, so that later items pay nothing for the watch."""
        for name in ("process", "process_batched"):
            self.__dict__.pop(name, None)

    async def process(self, item: Any, guard: Guard) -> Any:
        """Do as ``process_item_async``, but let a chain that never awaits not pay for awaiting."""
        for method, needs_spider in self._chain:
            returned = method(item, self._spider) if needs_spider else method(item)
            if returned is not item:
                name = global_object_name(method)
                returned = await guard(ensure_awaitable(returned, _warn=name))
            item = returned
        return item

    @cached_property
    def _chain(self) -> list[tuple[Callable[..., Any], bool]]:
        methods = filter(None, self.methods["process_item"])
        return [(method, method in self._mw_methods_requiring_spider) for method in methods]

    async def process_batched(
        self, items: Sequence[Any], guard: Guard, begins: Callable[[], object]
    ) -> list[Any]:
        """Run *items* through the pipelines at once, those without ``process_batch`` one by one.

        Args:
            begins: called before each call of a pipeline.

        Returns:
            what became of each: the item, or the exception that ended its way.

        Raises:
            Exception: a ``process_batch`` raised.
        """
        ends = list(items)
        for pipeline in self.middlewares:
            going = [n for n, end in enumerate(ends) if not isinstance(end, BaseException)]
            if not going:
                break
            before = [ends[n] for n in going]
            if hasattr(pipeline, "process_batch"):
                begins()
                after = await guard(ends_of(pipeline, before))
            else:
                after = [await self._end_of(pipeline, item, guard, begins) for item in before]
            for n, end in zip(going, after, strict=True):
                ends[n] = end
        return ends

    async def _end_of(
        self, pipeline: Any, item: Any, guard: Guard, begins: Callable[[], object]
    ) -> Any:
        begins()
        method = getattr(pipeline, "process_item", None)
        if method is None:
            return item
        try:
            needs_spider = method in self._mw_methods_requiring_spider
            returned = method(item, self._spider) if needs_spider else method(item)
            return await guard(ensure_awaitable(returned, _warn=global_object_name(method)))
        except BaseException as error:
            return error


class CallHop:
    """Calls functions that came as tasks, in the place of a hop's pipelines."""

    async def process(self, call: Any, guard: Guard) -> Any:
        """Call the function, and return what it returns, or what a coroutine function ends with."""
        function, args, kwargs = call
        returned = function(*args, **kwargs)
        return await guard(returned) if inspect.isawaitable(returned) else returned


def hop_pipelines(entries: Sequence[Any], crawler: Any) -> HopPipelines:
    """Build the pipelines of *entries*, but do not open them."""
    hop: type[HopPipelines] = type("HopPipelines", (HopPipelines,), {"entries": entries})
    return build_from_crawler(hop, crawler)


def _loaded(entry: Any, settings: BaseSettings) -> Any:
    try:
        return as_pipeline(load_object(entry))
    except (ImportError, NameError) as error:
        if type(error) not in (ImportError, ModuleNotFoundError, NameError):
            raise
        setting = "MPWORKERS_LEVELS" if settings.get("MPWORKERS_LEVELS") else "MPWORKERS_PIPELINES"
        # Of the same type, as inline.
        again = type(error)(f"{error} ({setting} lists {entry!r})")
        raise again.with_traceback(error.__traceback__) from None


def refuse_unfit(pipeline: type) -> None:
    """Refuse a pipeline that can never work in a worker.

    Raises:
        SettingError: it downloads through the engine, or has no ``process_item``.
    """
    name = f"{pipeline.__module__}.{pipeline.__qualname__}"
    # Not imported: a subclass exists only where its base has been imported already.
    media = sys.modules.get("scrapy.pipelines.media")
    if media is not None and issubclass(pipeline, media.MediaPipeline):
        raise SettingError(
            f"MPWORKERS_PIPELINES: {name} downloads through the crawl's engine, which a worker "
            "does not have. Keep it in ITEM_PIPELINES; pipelines that work on its files may follow "
            "in MPWORKERS_PIPELINES."
        )
    if hasattr(pipeline, "process_batch") and not hasattr(pipeline, "process_item"):
        raise SettingError(
            f"{name} has process_batch, but no process_item: derive it from "
            "scrapy_mpworkers.BatchMixin, and it runs both in a level with batch_size and "
            "everywhere else."
        )
