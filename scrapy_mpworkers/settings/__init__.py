"""Every MPWORKERS_ setting: the table of them, how a crawl reads them, which names there are.

``table`` is the one source: what a crawl reads, what ``scrapy mpworkers settings`` prints and what
the tables of the docs say comes from it.
"""

from scrapy_mpworkers.settings.names import (
    known_names,
    names_with_prefix,
    names_without_effect,
    warn_of_names,
)
from scrapy_mpworkers.settings.reading import level_of, read_declared, read_settings
from scrapy_mpworkers.settings.setting import Setting, text_of
from scrapy_mpworkers.settings.table import LevelSettings, WorkerSettings

__all__ = [
    "LevelSettings",
    "Setting",
    "WorkerSettings",
    "known_names",
    "level_of",
    "names_with_prefix",
    "names_without_effect",
    "read_declared",
    "read_settings",
    "text_of",
    "warn_of_names",
]
