"""Pipelines that take many items at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scrapy.utils.defer import ensure_awaitable

from scrapy_mpworkers.errors import BatchError


class BatchMixin:
    """Gives a pipeline with ``process_batch`` its ``process_item``, so that it runs anywhere.

    In a level with ``batch_size`` only ``process_batch`` is called; everywhere else each item is a
    batch of one.
    """

    def process_batch(self, items: list[Any]) -> Any:
        """Process *items*, at once or as a coroutine.

        Returns:
            a list that says what became of each, in their order: the item, a ``DropItem`` or
            another exception.

        Raises:
            Exception: all of them failed; they are tried again, one by one, if there are several.
        """
        raise NotImplementedError

    async def process_item(self, item: Any) -> Any:
        """Process a batch of one.

        Raises:
            Exception: what ``process_batch`` raised or returned for it.
        """
        (end,) = await ends_of(self, [item])
        if isinstance(end, Exception):
            raise end
        return end


async def ends_of(pipeline: Any, items: Sequence[Any]) -> list[Any]:
    """Return what ``process_batch`` returned for each item.

    Raises:
        BatchError: ``process_batch`` did not return one result for each item.
        Exception: what ``process_batch`` raised.
    """
    returned = pipeline.process_batch(list(items))
    if not isinstance(returned, list):
        returned = await ensure_awaitable(returned)
    name = f"{type(pipeline).__qualname__}.process_batch"
    if not isinstance(returned, (list, tuple)):
        raise BatchError(
            f"{name} returned {type(returned).__qualname__}; it must return a list that says what "
            "became of each item: the item, a DropItem or another exception"
        )
    if len(returned) != len(items):
        raise BatchError(
            f"{name} returned {len(returned)} results for {len(items)} items; it must say what "
            "became of each: the item, a DropItem or another exception"
        )
    return list(returned)
