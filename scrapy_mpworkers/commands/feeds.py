"""Keeps a replay from overwriting what its crawl has stored in feeds."""

from __future__ import annotations

import argparse
import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlparse

from scrapy.crawler import Crawler
from scrapy.extensions.feedexport import (
    FileFeedStorage,
    FTPFeedStorage,
    GCSFeedStorage,
    S3FeedStorage,
    StdoutFeedStorage,
)
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings
from scrapy.utils.conf import arglist_to_dict, feed_process_params_from_cli
from scrapy.utils.misc import load_object
from w3lib.url import file_uri_to_path

#: Feeds by their URIs, with their options.
Feeds: TypeAlias = dict[str, Mapping[str, Any]]

#: Scrapy sets what its command line says once more when a crawl begins.
ABOVE_COMMAND_LINE = SETTINGS_PRIORITIES["cmdline"] + 1

_PARAMETER = re.compile(r"%\((\w+)\)[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")


def given_feeds(opts: argparse.Namespace, settings: BaseSettings) -> Feeds:
    """Return the feeds that the command line itself names, by -o, -O and -s."""
    alone = settings.copy()
    named = arglist_to_dict(opts.set)
    for name in ("FEEDS", "FEED_URI"):
        alone.set(name, named.get(name), priority="cmdline")
    given = _listed(alone)
    if not (opts.output or opts.overwrite_output):
        return given
    # Where a feed of the settings has the same URI, its options would win.
    alone.set("FEEDS", {}, priority="cmdline")
    return given | feed_process_params_from_cli(
        alone, opts.output, overwrite_output=opts.overwrite_output
    )


def settle_feeds(crawler: Crawler, given: Feeds, comes_first: bool) -> list[str]:
    """Return the feeds that a crawl would overwrite although the command line does not name them.

    If it names others, *crawler* gets those instead. A crawl that does not come first appends to
    the files of the one before.
    """
    listed = _feeds_of_crawl(crawler)
    lost = [
        uri
        for uri, options in listed.items()
        if uri not in given and _is_overwritten(uri, options, crawler)
    ]
    feeds = {uri: options for uri, options in listed.items() if uri not in lost} | given
    if not comes_first:
        feeds = {uri: _appended(uri, options, crawler) for uri, options in feeds.items()}
    if feeds != listed:
        crawler.settings.set("FEEDS", feeds, ABOVE_COMMAND_LINE)
        crawler.settings.set("FEED_URI", None, ABOVE_COMMAND_LINE)
    return lost


def _appended(uri: str, options: Mapping[str, Any], crawler: Crawler) -> Mapping[str, Any]:
    is_shared = not _PARAMETER.search(uri) and _is_file(_storage(uri, crawler))
    return {**options, "overwrite": False} if is_shared else options


def _feeds_of_crawl(crawler: Crawler) -> Feeds:
    """Return the feeds of *crawler*, with those that add-ons will set."""
    assert crawler.spidercls is not None
    other = Crawler(crawler.spidercls, crawler.settings)
    try:
        other.addons.load_settings(other.settings)
    except Exception:
        return _listed(crawler.settings)  # its start will fail, and say so
    return _listed(other.settings)


def _listed(settings: BaseSettings) -> Feeds:
    feeds: Feeds = {}
    if settings["FEED_URI"]:  # the old form, which FeedExporter takes as well
        feeds[str(settings["FEED_URI"])] = {"format": settings["FEED_FORMAT"]}
    listed = settings.getdict("FEEDS")
    return feeds | {str(uri): options for uri, options in listed.items()}


def _is_overwritten(uri: str, options: Mapping[str, Any], crawler: Crawler) -> bool:
    """Return whether a crawl would replace something that is at *uri*."""
    if "%(time)s" in uri or "%(batch_time)s" in uri:
        return False  # a new one for each crawl
    storage = _storage(uri, crawler)
    if not _overwrites(storage, options):
        return False
    return not _is_file(storage) or _has_content(uri, crawler.spidercls.name)


def _storage(uri: str, crawler: Crawler) -> type:
    """Return the class that stores a feed at *uri*."""
    storages = crawler.settings.getwithbase("FEED_STORAGES")
    entry = storages.get(urlparse(uri).scheme) or storages.get("file")
    found = load_object(entry) if entry else None
    return found if isinstance(found, type) else object


def _is_file(storage: type) -> bool:
    return issubclass(storage, FileFeedStorage)


def _overwrites(storage: type, options: Mapping[str, Any]) -> bool:
    """Return whether *storage* replaces what is there, as Scrapy's storages decide (2.15-2.19)."""
    if issubclass(storage, StdoutFeedStorage):
        return False
    if issubclass(storage, (S3FeedStorage, GCSFeedStorage)):
        return True  # they cannot append
    return bool(options.get("overwrite", issubclass(storage, FTPFeedStorage)))


def _has_content(uri: str, spider: str) -> bool:
    """Return whether a file that *uri* may mean for this spider has anything in it."""
    path = file_uri_to_path(uri) if uri.startswith("file:") else uri
    known = {"name": glob.escape(spider)}
    # Most parameters are attributes of the spider, which there is not yet.
    pattern = _PARAMETER.sub(lambda found: known.get(found[1], "*"), glob.escape(path))
    files = map(Path, glob.glob(pattern.replace("%%", "%")))
    return any(file.is_file() and file.stat().st_size for file in files)
