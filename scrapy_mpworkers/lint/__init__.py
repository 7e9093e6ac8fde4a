"""Reads the source of pipelines, to say what of them is wrong in several processes.

Nothing of them is run. What cannot be read is not judged: rather no warning than a wrong one.

libraries   all that is known of libraries by name
project     which modules are the user's own
names       what statements bind
code        parsed modules and functions, and how their names are bound
source      the methods of a pipeline and its bases
origins     where a value comes from
elsewhere   containers of other classes and modules of the project
uses        what items do with attributes and globals
signs, anew small questions about one use; what each item begins anew
memo, state tells a memory of items from a cache; what is held until the end
left        what is filled for a reader who has another process
helpers     what objects of the project's other classes keep for the pipeline
files       files that are written
transactions  writes that are committed at the end
waits       what mostly waits for others
responses   what of a response in an item only its request could answer
touches     what is used of crawler and spider, and what of it no worker has
findings    what can be found
advice      one line for each, as the level makes it
"""

from __future__ import annotations

import logging
from functools import lru_cache

from scrapy_mpworkers.lint.capabilities import failures, touches
from scrapy_mpworkers.lint.changed import changed_state
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import Failure, Finding, Kind, Report
from scrapy_mpworkers.lint.helpers import kept_by_helpers
from scrapy_mpworkers.lint.io_bound import waiting
from scrapy_mpworkers.lint.messages import (
    lines_for,
    name_of,
    not_inspected,
    remembers,
    suggestion,
    waiting_advice,
    warnings,
    without_source,
)
from scrapy_mpworkers.lint.settings_module import settings_lines, warn_of_settings_module
from scrapy_mpworkers.lint.source import read_source
from scrapy_mpworkers.lint.state import State
from scrapy_mpworkers.lint.transactions import committed_at_close
from scrapy_mpworkers.lint.writes import file_finding

logger = logging.getLogger(__name__)

__all__ = [
    "Failure",
    "Finding",
    "Kind",
    "Report",
    "changed_state",
    "inspect",
    "lines_for",
    "name_of",
    "not_inspected",
    "remembers",
    "settings_lines",
    "suggestion",
    "waiting_advice",
    "warn_of_settings_module",
    "warnings",
    "without_source",
]


@lru_cache(maxsize=256)
def inspect(cls: type) -> Report:
    """All that the source of a pipeline class tells."""
    try:
        return _inspect(cls)
    except Exception as error:
        # Of code in a style that nobody has thought of. It shall run all the same.
        logger.debug("%r could not be inspected", cls, exc_info=True)
        why = f"{type(error).__name__}: {error}"
        return Report(cls, (), frozenset(), (), (), (cls.__qualname__,), why)


def _inspect(cls: type) -> Report:
    source = read_source(cls)
    origins = Origins(source)
    state = State(source, origins)
    kinds = state.kinds | dict.fromkeys(committed_at_close(source, origins), Kind.BUFFER)
    kinds |= kept_by_helpers(origins, state)
    files = file_finding(source, origins, Kind.BUFFER in state.kinds.values())
    held = set() if files is None else set(files.names)
    findings = [
        Finding(kind, names)
        for kind in (Kind.BUFFER, Kind.STATE, Kind.LEFT, Kind.CACHE)
        if (names := tuple(sorted(p for p, k in kinds.items() if k is kind and p not in held)))
    ]
    # What is held back goes out by the batch.
    waits = None if Kind.BUFFER in kinds.values() else waiting(source, origins)
    findings += [one for one in (files, waits) if one is not None]
    return Report(
        cls,
        tuple(findings),
        frozenset(state.changed | held),
        touches(source, origins),
        failures(source, origins),
        tuple(source.unread),
    )
