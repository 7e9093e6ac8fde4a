"""What a pipeline remembers from one item to the next, and what it holds until it is closed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from itertools import groupby

from scrapy_mpworkers.lint.accesses import Spot, Use, spots
from scrapy_mpworkers.lint.caches import is_memo
from scrapy_mpworkers.lint.code import GIVEN, Function, mentions
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.left import is_left
from scrapy_mpworkers.lint.resets import begins_anew, is_built_as_a_whole
from scrapy_mpworkers.lint.signs import (
    answers,
    appends,
    empties,
    is_default,
    names_in,
    only_closes,
    seen,
)
from scrapy_mpworkers.lint.source import Source

ITEM_METHODS = ("process_item", "process_batch")
OPEN_METHODS = ("__init__", "from_crawler", "from_settings", "open_spider", "spider_opened")
CLOSE_METHODS = ("close_spider", "spider_closed", "close", "__del__")

#: What is one number or text, and may be added to.
_SCALARS = frozenset({"int", "float", "str", "bytes", "bool", "tuple"})
_CLOCKS = ("time.time()", "time.monotonic()", "time.perf_counter()", "datetime.datetime.now()")
_ENDLESS = ("itertools.cycle()",)
_CHANGES = frozenset({Use.AUGMENT, Use.COLLECT, Use.STORE, Use.ADVANCE, Use.ASSIGN})
_LOOKS = frozenset({Use.MEMBER, Use.LOOK_UP, Use.LENGTH, Use.READ, Use.TAKE, Use.CALL})


class State:
    """The places that a pipeline's items change.

    Attributes:
        kinds: place → what it is. Others are left alone.
        changed: every place that the source shows being changed by items.
        items, closing: every use of a place by items, and at the end.
    """

    def __init__(
        self,
        source: Source,
        origins: Origins,
        at_item: Iterable[str] = ITEM_METHODS,
        at_close: Iterable[str] = CLOSE_METHODS,
    ) -> None:
        self._source = source
        self._origins = origins
        self.kinds: dict[str, Kind] = {}
        self.changed: set[str] = set()
        self.items = sorted(spots(source.reachable(at_item), source, origins), key=_place)
        self.closing = list(spots(source.reachable(at_close), source, origins))
        for place, group in groupby(self.items, key=_place):
            closing = [one for one in self.closing if self._is_of(place, one)]
            self._judge(place, list(group), closing)

    def _judge(self, place: str, items: Sequence[Spot], closing: Sequence[Spot]) -> None:
        origin = self._origin(items[0])
        closing = [spot for spot in closing if not only_closes(spot)]
        changes = [spot for spot in items if self._is_change(spot, origin, [*items, *closing])]
        if any(spot.method == "truncate" for spot in items):
            return  # a buffer that is used again and again
        if not changes or (not seen(closing) and begins_anew(items, self._source)):
            return
        if is_built_as_a_whole(changes, items):
            return
        self.changed.add(place)
        looks = [spot for spot in items if spot.use in _LOOKS and spot not in changes]
        if self._is_held(changes, looks, items, closing, origin):
            self.kinds[place] = Kind.BUFFER
        elif is_memo(changes, items):
            if not seen(closing):
                self.kinds[place] = Kind.CACHE
        elif looks or seen(closing) or self._tells(place, changes, origin):
            self.kinds[place] = Kind.STATE
        elif is_left(place, changes, self._source, self._origins):
            self.kinds[place] = Kind.LEFT

    def _tells(self, place: str, changes: Sequence[Spot], origin: str | None) -> bool:
        """Tell whether the place has an effect on items in some other way than by a look at it."""
        return any(map(answers, changes)) or _is_document(origin) or self._is_looked_at(place)

    def _is_looked_at(self, place: str) -> bool:
        """Tell whether a helper looks at the place by its own name, as at ``helpers.KNOWN``."""
        name = place.rpartition(".")[2]
        return not place.startswith(("self.", "spider.")) and any(
            spot.place.rpartition(".")[2] == name and spot.use in _LOOKS
            for spot in self.items
            if spot.place != place and not spot.place.startswith(("self.", "spider."))
        )

    def _is_of(self, place: str, closing: Spot) -> bool:
        """Whether what is closed is the place, or the document that it is part of."""
        if closing.place == place:
            return True
        documents = [self._origins.of_attribute(one[5:]) or "" for one in (place, closing.place)]
        return all(one.startswith(known().documents) for one in documents)

    def _origin(self, spot: Spot) -> str | None:
        if spot.place.startswith("self."):
            origin = self._origins.of_attribute(spot.place[5:])
            return None if (origin or "").startswith(known().fields) else origin
        if spot.place.startswith("spider."):
            return None
        module = spot.function.module
        value = module.values.get(spot.place)
        return self._origins.of(value, module.scope) if value is not None else "list()"

    def _is_change(self, spot: Spot, origin: str | None, every: Sequence[Spot]) -> bool:
        if spot.use not in _CHANGES:
            return _is_document(origin) and spot.method in known().filling
        if spot.use is Use.ADVANCE:
            return origin is None or not origin.startswith(_ENDLESS)
        if spot.use is Use.ASSIGN:
            return self._is_remembered(spot)
        if spot.use is Use.AUGMENT:
            return True
        return self._takes_in(spot, origin, every)

    def _takes_in(self, spot: Spot, origin: str | None, every: Sequence[Spot]) -> bool:
        """Whether the place is a container of this process: a session has ``add`` as well."""
        made_of = (*known().documents, *known().indexes)
        if origin in known().containers or (origin or "").startswith(made_of):
            return True
        if origin is None or origin in _SCALARS:
            is_own = spot.place.startswith("self.")
            is_known = spot.place[5:] in self._origins.assignments if is_own else True
            plain = {Use.MEMBER, Use.LENGTH}
            return not is_known or any(one.use in plain for one in every) or appends(spot)
        # Of a class that is not known: one that is asked whether it has an item has kept it.
        is_shared = origin.partition(".")[0] in known().shared
        return not is_shared and any(one.use is Use.MEMBER for one in every)

    def _is_remembered(self, spot: Spot) -> bool:
        """An assignment that carries something of this item, or of its time, to the next."""
        value = spot.value
        if value is None or isinstance(value, ast.Constant) or is_default(value, spot.node):
            return False
        if mentions(value, spot.node):
            return True
        if self._origins.of(value, spot.function) in _CLOCKS:
            return True
        return bool(names_in(value) & self._carried(spot.function))

    def _carried(self, function: Function) -> set[str]:
        """Locals that depend on the item."""
        carried = set(function.parameters) - GIVEN
        for _ in range(2):
            for name, values in function.values.items():
                if any(names_in(value) & carried for value in values):
                    carried.add(name)
        return carried

    def _is_held(
        self,
        changes: Sequence[Spot],
        looks: Sequence[Spot],
        items: Sequence[Spot],
        closing: Sequence[Spot],
        origin: str | None,
    ) -> bool:
        gathers = any(spot.use in (Use.COLLECT, Use.STORE, Use.CALL) for spot in changes)
        gathers = gathers or origin in (known().containers | {"str", "bytes", "tuple"})
        gathers = gathers or _is_document(origin)
        if not gathers and any(isinstance(spot.value, (ast.List, ast.Tuple)) for spot in changes):
            gathers = True
        if not gathers:
            return False
        if any(spot.use not in (Use.LENGTH, Use.CLEAR, Use.MEMBER) for spot in closing):
            return True
        is_emptied = any(empties(spot) for spot in items)
        uses = {spot.use for spot in looks}
        return is_emptied and Use.READ in uses and Use.MEMBER not in uses


def _place(spot: Spot) -> str:
    return spot.place


def _is_document(origin: str | None) -> bool:
    return origin is not None and origin.startswith(known().documents)
