"""Reads the source of pipelines and spiders, and tells what of them is wrong in several processes.

Nothing of them is run. What cannot be read is not judged: rather no warning than a wrong one.
All that others may use is imported here; the modules, from what knows least to what knows most:

known_modules    the names of libraries
project          tells the user's own modules from others
syntax           asks small questions of syntax trees
code, source     parsed modules, functions, and a pipeline with its bases
dataflow         finds where a value comes from
accesses         finds what items do with attributes and globals
caches           tells caches, and what each item begins anew, from a memory
state            tells what is remembered, held until the end, or filled for nobody
outside          finds files that are written, and calls that mostly wait
capabilities     finds what is used of crawler and spider, and what of it no worker has
settings_module, changed_globals look at what is around pipelines
findings         says what can be found, and gives a line for each
spiders          reads a spider, and tells its callbacks
memory           finds what callbacks keep from page to page
callbacks        inspects the callbacks of a spider
callback_lines   gives a line for each thing found there
"""

from __future__ import annotations

import logging
from functools import lru_cache

from scrapy_mpworkers.lint.callback_lines import callback_warnings, why_at_home
from scrapy_mpworkers.lint.callbacks import callbacks_of, inspect_spider, with_missing
from scrapy_mpworkers.lint.capabilities import capabilities, failures, failures_of_responses
from scrapy_mpworkers.lint.changed_globals import changed_state
from scrapy_mpworkers.lint.dataflow import Origins
from scrapy_mpworkers.lint.findings import (
    Failure,
    Finding,
    Kind,
    Report,
    by_kind,
    failure_lines,
    lines_for,
    name_of,
    not_inspected,
    remembers,
    suggestion,
    waiting_advice,
    warnings,
    without_source,
)
from scrapy_mpworkers.lint.outside import committed_at_close, waiting, written_files
from scrapy_mpworkers.lint.repeated import module_lines, warn_of_modules
from scrapy_mpworkers.lint.source import CLOSE_METHODS, ITEM_METHODS, OPEN_METHODS, Source
from scrapy_mpworkers.lint.state import State, kept_by_delegates
from scrapy_mpworkers.wire.texts import named

logger = logging.getLogger(__name__)

__all__ = ["Failure", "Finding", "Kind", "Report", "changed_state", "inspect", "module_lines"]
__all__ += ["callback_warnings", "callbacks_of", "failure_lines", "inspect_spider"]
__all__ += ["why_at_home", "with_missing"]
__all__ += ["lines_for", "name_of", "not_inspected", "remembers", "suggestion"]
__all__ += ["waiting_advice", "warn_of_modules", "warnings", "without_source"]


@lru_cache(maxsize=256)
def inspect(cls: type) -> Report:
    """Return all that the source of a pipeline class tells.

    An error in our own reading of it is part of the report, and does not stop a crawl.
    """
    try:
        return _inspect(cls)
    except Exception as error:
        # The code may be in a style that nobody has thought of. It shall run all the same.
        logger.debug("%r could not be inspected", cls, exc_info=True)
        return Report(cls, (), frozenset(), (), (), (cls.__qualname__,), named(error))


def _inspect(cls: type) -> Report:
    origins = Origins(Source(cls))
    state = State(origins, ITEM_METHODS, CLOSE_METHODS)
    kinds = state.kinds | dict.fromkeys(committed_at_close(origins), Kind.BUFFER)
    kinds |= kept_by_delegates(origins, state)
    # If it holds items until it is closed, the file that they go to is part of that.
    has_buffer = Kind.BUFFER in state.kinds.values()
    beside = OPEN_METHODS if has_buffer else OPEN_METHODS + CLOSE_METHODS
    files = written_files(origins, ITEM_METHODS, beside)
    held = {name for one in files for name in one.names}
    others = {target: kind for target, kind in kinds.items() if target not in held}
    findings = by_kind(others, (Kind.BUFFER, Kind.STATE, Kind.LOST, Kind.CACHE))
    # Items that are held back go out in batches: the pipeline waits for few of them.
    waits = [] if Kind.BUFFER in kinds.values() else waiting(origins)
    found = (*findings, *files, *waits)
    known, unread = frozenset(state.changed | held), tuple(origins.source.unread)
    used = tuple(sorted(capabilities(origins, origins.functions)))
    fails = failures_of_responses(origins) | failures(origins, origins.functions)
    return Report(cls, found, known, used, tuple(sorted(fails.values())), unread)
