"""Gives all workers of a process, replacements included, the same seed of ``hash()``.

Inline, all pipelines share a seed, so a key made of ``hash(text)`` is the same everywhere. An
interpreter takes a seed only from its environment. So the variable holds ours while a worker's
interpreter begins, and then the user's value again, for the programs that a pipeline starts.
Under ``python -E`` and ``-I``, which ignore the variable, each fork server has a seed of its own.
"""

from __future__ import annotations

import os
import secrets

_VARIABLE = "PYTHONHASHSEED"
_BEFORE = "_MPWORKERS_PYTHONHASHSEED_BEFORE"
_LARGEST = 4294967295  # documentation of PYTHONHASHSEED

#: The seed of this process's workers; in a worker, its own seed.
_seed = str(1 + secrets.randbelow(_LARGEST))


def environment() -> dict[str, str]:
    """Return this process's environment, for a program that calls :func:`restore` at first."""
    before = os.environ.get(_VARIABLE, "")
    if before not in ("", "random"):
        return dict(os.environ)  # the user has set one, which this process has as well
    return {**os.environ, _VARIABLE: _seed, _BEFORE: before}


def restore() -> None:
    """Put the variable back as the user has it."""
    global _seed
    before = os.environ.pop(_BEFORE, None)
    if before is None:
        return
    _seed = os.environ.pop(_VARIABLE)
    if before:
        os.environ[_VARIABLE] = before
