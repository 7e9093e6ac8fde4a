"""The report that a crawl leaves: its page with the history of the whole crawl, in one file."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scrapy.settings import BaseSettings

from scrapy_mpworkers.settings import known_names, text_of
from scrapy_mpworkers.status import shell

#: Settings of Scrapy that decide how fast pages and items come.
_OF_SCRAPY = (
    *("CONCURRENT_REQUESTS", "CONCURRENT_REQUESTS_PER_DOMAIN", "CONCURRENT_ITEMS"),
    *("DOWNLOAD_DELAY", "AUTOTHROTTLE_ENABLED", "HTTPCACHE_ENABLED", "ITEM_PIPELINES"),
    *("TWISTED_REACTOR", "TWISTED_REACTOR_ENABLED", "LOG_LEVEL"),
)
_HEAD, _PLACE = '<meta charset="utf-8">', 'id="report">null<'
_POLICY = 'http-equiv="Content-Security-Policy"'


def write(path: Path, crawl: dict[str, Any]) -> None:
    """Write the page with *crawl* in it: ``snapshot``, ``history`` and ``facts``, ready for JSON.

    Raises:
        OSError: it cannot be written; an older report is still there.
    """
    html = shell.html()
    page = html.replace(_HEAD, f'{_HEAD}\n<meta {_POLICY} content="{shell.policy(html)}">', 1)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(page.replace(_PLACE, f'id="report">{_embedded(crawl)}<', 1), "utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _embedded(data: Any) -> str:
    """Return JSON that an element of a page may hold: nothing in it ends that element."""
    text = json.dumps(data, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def facts(settings: BaseSettings, summary: str) -> dict[str, Any]:
    """Return what a report says beside the figures: *summary*, versions, settings."""
    packages = ("scrapy", "twisted", "scrapy-mpworkers")
    versions = [("Python", platform.python_version()), ("system", platform.platform())]
    versions += [(name, version(name)) for name in packages]
    return {"summary": summary, "versions": versions, "settings": list(_told(settings))}


def _told(settings: BaseSettings) -> Iterator[tuple[str, str]]:
    """Yield the settings of ours that are set, and some of Scrapy's; others may be secrets."""
    ours = known_names()
    for name in (*sorted(name for name in settings if name in ours), *_OF_SCRAPY):
        if name in settings:
            yield name, text_of(settings[name])
