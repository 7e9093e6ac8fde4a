"""Finds what callbacks keep from page to page: in the spider, in its class, in globals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scrapy_mpworkers.lint.accesses import Access, AccessKind, accesses
from scrapy_mpworkers.lint.caches import assigns_first
from scrapy_mpworkers.lint.code import Function
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Kind
from scrapy_mpworkers.lint.known_modules import known
from scrapy_mpworkers.lint.source import OPEN_METHODS
from scrapy_mpworkers.lint.spiders import SpiderSource
from scrapy_mpworkers.lint.state import State, kept_by_delegates

_UNREAD = (AccessKind.ASSIGN, AccessKind.CLEAR)


class Memory:
    """Knows what the callbacks of a spider change that outlives a call.

    Args:
        names: those that run in workers.
    """

    def __init__(self, origins: Origins, source: SpiderSource, names: Iterable[str]) -> None:
        self._origins = origins
        self._hooks = source.hooks
        names = (*names, *self._hooks)
        self._state = State(origins, names, ())
        self._delegates = kept_by_delegates(origins, self._state)
        self._in_workers = origins.source.reachable(names)
        self._read_at_home = set(self._read(self._at_home()))

    def of(self, name: str) -> dict[str, Kind]:
        """Map what a callback changes to its kind: ``STATE`` if only workers look at it, ``LOST``
        if Scrapy's process does or nobody, ``CACHE`` if that is harmless."""
        own = self._origins.source.reachable([name, *self._hooks])
        uses = [access for access in self._state.items if access.function in own]
        others = set(self._read(one for one in self._in_workers if one not in own))
        changed = {access.target for access in self._state.changes if access.function in own}
        assigned = {access.target for access in uses if access.kind is AccessKind.ASSIGN}
        taken = {access.target for access in uses if self._takes_out(access)}
        found = {}
        for target in changed | assigned | taken:
            kind = self._kind(target, others, target in changed)
            if kind is not None:
                found[target] = kind
        used = {access.target for access in uses}
        return found | {
            target: _plain(kind)
            for target, kind in self._delegates.items()
            if target.rpartition(".")[0] in used
        }

    def _kind(self, target: str, others: set[str], is_changed: bool) -> Kind | None:
        known_kind = self._state.kinds.get(target)
        if known_kind is Kind.CACHE:
            return Kind.CACHE
        if target in self._read_at_home:
            return Kind.LOST
        if target in self._state.changed:
            return _plain(known_kind or Kind.LOST)
        is_taken = any(self._takes_out(one) for one in self._state.items if one.target == target)
        return Kind.STATE if target in others or (is_taken and not is_changed) else None

    def _takes_out(self, access: Access) -> bool:
        """Return whether the callback takes something out of a container that stays."""
        origin = self._origins.of_attribute(access.target.removeprefix("self."))
        return access.kind is AccessKind.TAKE and origin in known().names["containers"]

    def _at_home(self) -> list[Function]:
        """List what Scrapy's process runs when pages come."""
        source = self._origins.source
        elsewhere = [*self._in_workers, *source.reachable(OPEN_METHODS)]
        return source.reachable(
            name for name, (method, *_) in source.methods.items() if method not in elsewhere
        )

    def _read(self, functions: Iterable[Function]) -> Iterator[str]:
        """Yield the targets that functions read as others have left them."""
        for function in functions:
            uses = list(accesses([function], self._origins))
            for target in {one.target for one in uses if one.kind not in _UNREAD}:
                if not assigns_first(function, [one for one in uses if one.target == target]):
                    yield target


def _plain(kind: Kind) -> Kind:
    return Kind.STATE if kind is Kind.BUFFER else kind
