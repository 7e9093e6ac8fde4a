"""Gives all workers of a process one seed of ``hash()``, those too that replace others.

Inline, all pipelines share one, and a key that was made of ``hash(text)`` is the same everywhere. A
seed can be given to an interpreter only in its environment, so it stands there while one begins,
and then what the user has set stands there again: the programs that a pipeline starts are not ours.
Under ``python -E`` and ``-I``, which ignore the variable, each fork server has a seed of its own.
"""

from __future__ import annotations

import os
import secrets

_VARIABLE = "PYTHONHASHSEED"
_BEFORE = "_MPWORKERS_PYTHONHASHSEED_BEFORE"
_LARGEST = 4294967295  # documentation of PYTHONHASHSEED

#: Of this process's workers; in a worker its own.
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
