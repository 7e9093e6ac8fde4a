"""Finds the pages of crawls that run, and asks them."""

from __future__ import annotations

import http.client
import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

#: Seconds to wait for an answer: a crawl may be busy.
_PATIENCE = 5.0


class PageError(Exception):
    """Says in one sentence why a page gives no data."""


class PageClosed(PageError):
    """Nobody listens there: its last crawl is over."""


class PageClient:
    """Asks one page.

    Args:
        url: with the token, as the crawl's log has it.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if host is None or port is None or parts.scheme != "http" or not parts.fragment:
            raise PageError(f"{url} is no address of a page, as it is in the log: http://…:…/#…")
        self._host, self._port = host, port
        self._headers = {"Authorization": f"Bearer {parts.fragment}"}

    def get(self, path: str) -> list[Any]:
        """Return what the page has of each of its crawls.

        Raises:
            PageError: it does not say.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE)
        where = f"the page at {self._host}:{self._port}"
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except TimeoutError:
            raise PageError(f"{where} has not answered for {_PATIENCE:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise PageClosed(f"{where} is closed: {error}") from None
        finally:
            connection.close()
        if status != 200:
            raise PageError(f"{where} answers: {printable(body.decode(errors='replace').strip())}")
        crawls: list[Any] = json.loads(body)["crawls"]
        return crawls


def find_pages(url: str | None) -> list[PageClient]:
    """Return the page at *url*, or those of all crawls of this user.

    Raises:
        PageError: there is none.
    """
    if url is not None:
        return [PageClient(url)]
    from scrapy_mpworkers.status import jobs  # needs platformdirs, which an --url does not

    pages = [PageClient(job.url) for job in jobs.running()]
    if not pages:
        raise PageError("no crawl with MPWORKERS_PAGE is running")
    return pages


def of_spider(pages: list[PageClient], path: str, spider: str | None) -> list[Any]:
    """Return what *pages* have of all crawls that are not over, or of those of one spider.

    Raises:
        PageError: a page does not say, or there are none.
    """
    found = []
    for page in pages:
        with suppress(PageClosed):
            found += [one for one in page.get(path) if spider in (None, one["spider"])]
    if not found:
        whose = f" of the spider {spider!r}" if spider else ""
        raise PageClosed(f"no crawl{whose} with MPWORKERS_PAGE is running")
    return found


def print_stacks(pages: list[PageClient], spider: str | None) -> None:
    """Print where each worker's code is at this moment.

    Raises:
        PageError: there is no crawl, or it does not say.
    """
    for crawl in of_spider(pages, "/stacks.json", spider):
        for worker in crawl["workers"]:
            print(f"{printable(crawl['spider'])}, {printable(worker['name'])}:")
            for line in (worker["stack"] or "It does not answer.").splitlines():
                print(f"  {printable(line)}")
            print()


def printable(text: str) -> str:
    """Return *text* without what commands a terminal."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
