"""What workers import before they have anything to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from scrapy_mpworkers.checks import Entry


def modules_to_preload(
    entries: Iterable[Entry], spidercls: type
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What every worker imports anyway, and the fork server once for all: what the pipelines need,
    and what the spider needs."""
    modules = ["scrapy_mpworkers.worker.main", "scrapy_mpworkers.worker.consumer"]
    modules += [e.rpartition(".")[0] if isinstance(e, str) else e.__module__ for e in entries]
    of_spider = spidercls.__module__
    preload = tuple(name for name in dict.fromkeys(modules) if name and name != "__main__")
    return preload, () if of_spider == "__main__" else (of_spider,)


def folders_to_import_from(spidercls: type) -> tuple[str, ...]:
    """The folder of a ``scrapy runspider`` file, which is not on ``sys.path``."""
    module = sys.modules.get(spidercls.__module__)
    file = getattr(module, "__file__", None)
    if file is None or "." in spidercls.__module__ or spidercls.__module__ == "__main__":
        return ()
    folder = os.path.dirname(os.path.abspath(file))
    return () if folder in map(os.path.abspath, sys.path) else (folder,)
