"""ITEM_PIPELINES and MPWORKERS_PIPELINES on one number line.

A run of offloaded neighbours is a hop. One entry of ITEM_PIPELINES stands for it, at the order of
its first pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from scrapy.settings import BaseSettings
from scrapy.utils.conf import build_component_list
from scrapy.utils.misc import load_object

from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.settings import Entry, WorkerSettings, import_path


def add_hops(
    settings: BaseSettings, options: WorkerSettings, hop_class: Callable[[int], type]
) -> None:
    """Put an entry for each hop into ITEM_PIPELINES, unless the user has placed one by hand.

    Args:
        hop_class: gives the class that stands for the hop of a number.

    Raises:
        SettingError: a pipeline is in both settings.
    """
    reactor_side = _reactor_pipelines(settings)
    _refuse_twice(reactor_side, options)
    if any(_is_hop(entry) for entry in reactor_side):
        return
    for number, order in enumerate(_first_orders(reactor_side, options)):
        settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", hop_class(number), order)


def hops_of(settings: BaseSettings, options: WorkerSettings) -> tuple[tuple[Entry, ...], ...]:
    """The entries of each hop, in order, as ITEM_PIPELINES places them."""
    placed = _reactor_pipelines(settings)
    orders = sorted(order for entry, order in placed.items() if _is_hop(entry))
    hops: list[list[Entry]] = [[] for _ in orders]
    if not hops:
        return ()
    for entry, order in options.pipelines:
        place = max((n for n, first in enumerate(orders) if first <= order), default=0)
        hops[place].append(entry)
    return tuple(map(tuple, hops))


def is_contract_check() -> bool:
    """Whether ``scrapy check`` runs, which has no items."""
    return os.environ.get("SCRAPY_CHECK") == "true"


def _first_orders(reactor_side: dict[Any, Any], options: WorkerSettings) -> list[Any]:
    """The order of the first pipeline of each run of offloaded neighbours."""
    line: list[tuple[Any, bool]] = [(order, False) for order in reactor_side.values()]
    line += [(order, True) for _, order in options.pipelines]
    line.sort(key=lambda point: point[0])
    return [
        order
        for n, (order, offloaded) in enumerate(line)
        if offloaded and not (n and line[n - 1][1])
    ]


def _reactor_pipelines(settings: BaseSettings) -> dict[Any, Any]:
    # get_component_priority_dict_with_base came with Scrapy 2.17 or so; getwithbase goes.
    read = getattr(settings, "get_component_priority_dict_with_base", None)
    composed = (read or settings.getwithbase)("ITEM_PIPELINES")
    build_component_list(composed)  # Scrapy's own checks and errors
    return {entry: order for entry, order in composed.items() if order is not None}


def _is_hop(entry: Any) -> bool:
    if isinstance(entry, str) and not entry.startswith("scrapy_mpworkers."):
        return False
    return getattr(load_object(entry), "hop_number", None) is not None


def _refuse_twice(reactor_side: dict[Any, Any], options: WorkerSettings) -> None:
    offloaded = {import_path(entry) for entry, _ in options.pipelines}
    for entry in reactor_side:
        if import_path(entry) in offloaded:
            raise SettingError(
                f"{import_path(entry)} is in both ITEM_PIPELINES and MPWORKERS_PIPELINES; "
                "keep it in one of them."
            )
