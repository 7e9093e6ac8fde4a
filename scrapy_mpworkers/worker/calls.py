"""Calls functions that came as tasks."""

from __future__ import annotations

import inspect
from typing import Any

from scrapy_mpworkers.worker.pipelines import Guard


class CallHop:
    """Stands where the pipelines of a hop stand; its item is a call."""

    async def process(self, call: Any, guard: Guard) -> Any:
        """Call the function; await what it returns if it is a coroutine function.

        Returns:
            what it returned.

        Raises:
            Exception: what it raised.
        """
        function, args, kwargs = call
        returned = function(*args, **kwargs)
        return await guard(returned) if inspect.isawaitable(returned) else returned
