"""ITEM_PIPELINES and the pipelines of all levels on one number line.

A run of neighbours of one level is a hop. Hops that follow one another, without a pipeline of
ITEM_PIPELINES between them, are a route: one entry of ITEM_PIPELINES stands for it, at the order of
its first pipeline.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.conf import build_component_list
from scrapy.utils.misc import load_object

from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.settings import LevelSettings, WorkerSettings
from scrapy_mpworkers.wire.entries import PipelineEntry, import_path

#: Import paths of the classes in ``pipelines`` that stand for a route.
_ROUTE = re.compile(r"scrapy_mpworkers\.(pipelines\.)?(WorkerPipeline|Route[1-9][0-9]*)")


class Hop(NamedTuple):
    """A hop is one trip of an item to workers.

    ``number``: from 0, along the number line; ``route``: likewise; ``level``: its index in
    ``WorkerSettings.levels``.
    """

    number: int
    route: int
    level: int
    entries: tuple[PipelineEntry, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(map(import_path, self.entries))


def add_routes(settings: BaseSettings, options: WorkerSettings) -> dict[str, Any] | None:
    """Put an entry for each route into ITEM_PIPELINES, unless the user has placed one by hand.

    Returns:
        the entries and their orders; ``None`` if the user has the say, who may have switched one
        off as well.

    Raises:
        SettingError: a pipeline is in both settings.
    """
    reactor_side = _reactor_pipelines(settings)
    wanted = _routes(reactor_side, options)
    if any(_is_route(entry) for entry in reactor_side):
        return None
    for path, order in wanted.items():
        add_component(settings, "ITEM_PIPELINES", path.removeprefix(f"{__package__}."), order)
    return wanted if _placed_routes(settings) == wanted else None


def settle_routes(crawler: Crawler, options: WorkerSettings) -> None:
    """Move the routes to where they belong, now that all add-ons have had their turn.

    One behind ours may have put a pipeline into the middle of a route, or have taken one away
    between two. A route that it has moved itself stays there.

    Raises:
        SettingError: a pipeline is in both settings.
    """
    settings = crawler.settings
    for addon in crawler.addons.addons:
        placed = getattr(addon, "placed_routes", None)
        if placed is None or _placed_routes(settings) != placed:
            continue
        listed = settings.getdict("ITEM_PIPELINES")
        others = {entry: order for entry, order in listed.items() if entry not in placed}
        wanted = _routes(dict(on_the_reactor(settings)), options)
        if wanted != placed:
            priority = settings.getpriority("ITEM_PIPELINES") or 0
            settings.set("ITEM_PIPELINES", {**others, **wanted}, priority)
            addon.placed_routes = wanted


def add_component(settings: BaseSettings, setting: str, name: str, order: int) -> None:
    """Add a component of ours by its name in this package, unless the user has listed it, if only
    to switch it off.

    The setting gets a path and not the class, which workers would import: settings are pickled.
    """
    components = settings.getdict(setting)
    if not any(is_component(entry, name) for entry in components):
        path = f"{__package__}.{name}"
        settings.set(setting, {**components, path: order}, settings.getpriority(setting) or 0)


def is_component(entry: Any, name: str) -> bool:
    """Return whether *entry* is our class of that name, itself or under any path."""
    path, cls = f"{__package__}.{name}", name.rpartition(".")[2]
    if not isinstance(entry, str):
        return f"{entry.__module__}.{getattr(entry, '__qualname__', '')}" == path
    if entry in (path, f"{__package__}.{cls}"):
        return True
    # A module of the user may import our class and so give it another path: look at the object.
    return entry.endswith(f".{cls}") and is_component(load_object(entry), name)


def hops_of(settings: BaseSettings, options: WorkerSettings) -> tuple[Hop, ...]:
    """Return the hops, in order, as ITEM_PIPELINES places their routes."""
    begins = sorted(_placed_routes(settings).values())
    if not begins:
        return ()

    def position(point: _Point) -> tuple[int, int]:
        route = max((n for n, begin in enumerate(begins) if begin <= point.order), default=0)
        return route, point.level

    line = [
        _Point(order, number, entry)
        for number, level in enumerate(options.levels)
        for entry, order in level.pipelines
    ]
    runs = groupby(sorted(line, key=attrgetter("order")), key=position)
    return tuple(
        Hop(number, route, level, tuple(point.entry for point in run))
        for number, ((route, level), run) in enumerate(runs)
    )


def on_the_reactor(settings: BaseSettings) -> list[tuple[Any, Any]]:
    """Return (entry, order) of the pipelines in Scrapy's process, without entries of routes."""
    placed = _reactor_pipelines(settings).items()
    return [(entry, order) for entry, order in placed if not _is_route(entry)]


def routes_of(hops: Iterable[Hop]) -> dict[int, Sequence[Hop]]:
    """Return the hops of each route, by its number."""
    return {number: list(run) for number, run in groupby(hops, key=attrgetter("route"))}


def empty_route(route: int) -> SettingError:
    """Return the error of a route without hops."""
    return SettingError(
        f"Route{route + 1} in ITEM_PIPELINES has nothing to do: all that is offloaded "
        "belongs to another route. Remove it, or replace what was placed by hand by "
        'ADDONS = {"scrapy_mpworkers.Addon": 500}.'
    )


def rest_of_route(hops: Sequence[Hop], hop: Hop) -> Sequence[Hop]:
    """Return *hop* and the hops behind it on its route."""
    return [one for one in hops[hop.number :] if one.route == hop.route]


def keyed(hops: Iterable[Hop], levels: Sequence[LevelSettings]) -> list[Hop]:
    """Return the hops whose key can be computed from an item before it enters the first of *hops*.

    No level changes the item before the first one that the crawl waits for, which ends the list.
    """
    found: list[Hop] = []
    for hop in hops:
        if levels[hop.level].key is not None:
            found.append(hop)
        if levels[hop.level].wait:
            break
    return found


def is_contract_check() -> bool:
    """Return whether ``scrapy check`` runs, which has no items."""
    return os.environ.get("SCRAPY_CHECK") == "true"


class _Point(NamedTuple):
    order: Any
    level: int
    entry: PipelineEntry


def _routes(reactor_side: dict[Any, Any], options: WorkerSettings) -> dict[str, Any]:
    """Return the paths of the entries that stand for the routes, and their orders."""
    _refuse_twice(reactor_side, options)
    routes = {}
    for number, order in enumerate(_first_orders(reactor_side, options)):
        name = f"Route{number + 1}" if number else "WorkerPipeline"
        routes[f"{__package__}.pipelines.{name}"] = order
    return routes


def _placed_routes(settings: BaseSettings) -> dict[Any, Any]:
    placed = _reactor_pipelines(settings).items()
    return {entry: order for entry, order in placed if _is_route(entry)}


def _first_orders(reactor_side: dict[Any, Any], options: WorkerSettings) -> list[Any]:
    """Return the order of the first pipeline of each run of offloaded neighbours."""
    line: list[tuple[Any, bool]] = [(order, False) for order in reactor_side.values()]
    line += [(order, True) for _, order in options.pipelines]
    line.sort(key=itemgetter(0))
    return [next(run)[0] for offloaded, run in groupby(line, key=itemgetter(1)) if offloaded]


def _reactor_pipelines(settings: BaseSettings) -> dict[Any, Any]:
    # get_component_priority_dict_with_base came with Scrapy 2.17 or so; getwithbase goes.
    read = getattr(settings, "get_component_priority_dict_with_base", None)
    composed = (read or settings.getwithbase)("ITEM_PIPELINES")
    build_component_list(composed)  # Scrapy's own checks and errors
    return {entry: order for entry, order in composed.items() if order is not None}


def _is_route(entry: Any) -> bool:
    if isinstance(entry, str):
        return _ROUTE.fullmatch(entry) is not None
    return getattr(entry, "route_number", None) is not None


def _refuse_twice(reactor_side: dict[Any, Any], options: WorkerSettings) -> None:
    offloaded = {import_path(entry) for entry, _ in options.pipelines}
    has_levels = any(level.name for level in options.levels)
    setting = "MPWORKERS_LEVELS" if has_levels else "MPWORKERS_PIPELINES"
    for entry in reactor_side:
        if import_path(entry) in offloaded:
            raise SettingError(
                f"{import_path(entry)} is in both ITEM_PIPELINES and {setting}; "
                "keep it in one of them."
            )
