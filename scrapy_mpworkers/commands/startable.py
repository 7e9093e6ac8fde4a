"""Finds what would stop a crawl at its start. Nothing is started, connected or written for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from scrapy.crawler import Crawler
from scrapy.utils.misc import load_object

from scrapy_mpworkers.backends.base import find_backend, plans_of
from scrapy_mpworkers.errors import MPWorkersError, SettingError
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.settings import WorkerSettings
from scrapy_mpworkers.stores.journal import FILE_NAME, Journal
from scrapy_mpworkers.stores.private_files import read_private


def obstacles(crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> Iterator[str]:
    """Yield the reasons why the crawl would not start, as far as they lie in its settings."""
    yield from _of_backend(crawler, options, hops)
    if hops and options.initializer is not None:
        yield from _of_initializer(options.initializer)
    if hops and options.dead_letters is not None:
        for why in _unusable(options.dead_letters):
            yield f"MPWORKERS_DEAD_LETTERS is {str(options.dead_letters)!r}, but {why}."
    if hops and options.journal:
        yield from _of_journal(Path(crawler.settings["JOBDIR"]))


def _of_backend(crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> Iterator[str]:
    plans, _ = plans_of(options, hops)
    if not any(plan.settings.pool.workers for plan in plans):
        return
    try:
        backend = find_backend(options.backend)(crawler, options, plans)
        getattr(backend, "check", lambda: None)()
    except SettingError as error:
        yield str(error)
    # Whatever the code of a third party raises.
    except (Exception, SystemExit) as error:
        yield (
            f"MPWORKERS_BACKEND is {options.backend!r}, but that backend cannot be made: "
            f"{type(error).__name__}: {error}"
        )


def _of_initializer(path: str) -> Iterator[str]:
    try:
        load_object(path)
    # Whatever the user's module raises when it is imported.
    except (Exception, SystemExit) as error:
        yield f"MPWORKERS_INITIALIZER is {path!r}, but {type(error).__name__}: {error}."


def _of_journal(folder: Path) -> Iterator[str]:
    path = folder / FILE_NAME
    problems = [f"MPWORKERS_JOURNAL is True, but {why}." for why in _unusable(path)]
    yield from problems
    if problems or not path.exists():
        return
    # A copy: to open a journal is to write to it, and its crawl may be running.
    with tempfile.TemporaryDirectory() as copy:
        for companion in (path, Path(f"{path}-wal")):
            with suppress(FileNotFoundError):
                shutil.copy2(companion, copy)
        try:
            Journal(Path(copy), lambda: True).release()
        except (MPWorkersError, OSError) as error:
            yield str(error).replace(copy, str(folder))


def _unusable(path: Path) -> Iterator[str]:
    """Yield why the file cannot be written to, or be made if it is not there."""
    try:
        os.close(read_private(path))
    except FileNotFoundError:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            yield f"{folder} is not a folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield f"nothing can be written to the folder {folder}"
    except OSError as error:
        yield f"that file cannot be used: {error}"
    else:
        if not os.access(path, os.W_OK):
            yield "that file cannot be written to"
