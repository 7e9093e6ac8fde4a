"""All cases, and how to find one.

Not in ``cases/__init__.py``: a worker imports the module of its case, and should import no other.
"""

from __future__ import annotations

from .case import Case
from .cases import (
    callback_losses,
    callback_meta,
    callback_middlewares,
    callback_requests,
    callback_rules,
    callback_shapes,
    callback_spiders,
    callback_surfing,
    callback_surroundings,
    callbacks,
    carried,
    changes,
    hops,
    kinds,
    levels,
    lifecycle,
    losses,
    outputs,
    processes,
    pydantic_items,
    reuse,
    saboteurs,
    shapes,
    surroundings,
)

# New cases go to the end of their module's list: a case's place picks its start methods.
CASES: tuple[Case, ...] = (
    *kinds.CASES,
    *pydantic_items.CASES,
    *losses.CASES,
    *outputs.CASES,
    *shapes.CASES,
    *lifecycle.CASES,
    *surroundings.CASES,
    *hops.CASES,
    *changes.CASES,
    *reuse.CASES,
    *carried.CASES,
    *processes.CASES,
    *levels.CASES,
    *levels.ORDERS,
    *callbacks.CASES,
    *callback_meta.CASES,
    *callback_losses.CASES,
    *callback_spiders.CASES,
    *callback_surroundings.CASES,
    *callback_middlewares.CASES,
    *callback_requests.CASES,
    *callback_surfing.CASES,
    *callback_shapes.CASES,
    *callback_rules.CASES,
)


def find_case(name: str) -> Case:
    return _BY_NAME[name]


_BY_NAME = {case.name: case for case in (*CASES, *saboteurs.SABOTEURS)}
