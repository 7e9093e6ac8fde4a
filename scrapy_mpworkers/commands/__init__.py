"""Runs ``scrapy mpworkers``: ``check``, ``settings``, ``init``, ``replay``, ``top``, ``stacks``.

Imports little: Scrapy loads all commands for any of them, and ``crawl`` is to launch a fork server
first of all.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy import Spider
from scrapy.addons import AddonManager
from scrapy.commands import BaseRunSpiderCommand
from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader
from scrapy.utils.project import inside_project

from scrapy_mpworkers.errors import NotPrivateError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler, CrawlerProcessBase
    from scrapy.settings import Settings

    from scrapy_mpworkers.commands.replay import Replay
    from scrapy_mpworkers.stores.dead_letters import StoredLetters


#: How many words may follow each first word.
_ARGUMENTS = {
    "check": (0, 1),
    "settings": (0, 1),
    "init": (0,),
    "replay": (1,),
    "top": (0, 1),
    "stacks": (0, 1),
}


class MPWorkersCommand(BaseRunSpiderCommand):
    """Does what is done with workers beside a crawl.

    The exit code is 1 if an item failed again or something would fail, and 2 for a wrong use.
    """

    settings: Settings  # both are there when Scrapy calls run()
    crawler_process: CrawlerProcessBase

    def syntax(self) -> str:
        return (
            "[options] check [SPIDER] | settings [--changed] [SPIDER] | init [--yes] | "
            "replay FILE | top [--once] [--url URL] [SPIDER] | stacks [--url URL] [SPIDER]"
        )

    def short_desc(self) -> str:
        return "Check what would fail in workers, and more (scrapy_mpworkers)"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--yes", action="store_true", help="init: do not ask before it writes")
        parser.add_argument(
            "--changed", action="store_true", help="settings: only those that are not the default"
        )
        parser.add_argument("--once", action="store_true", help="top: print one frame, and end")
        parser.add_argument(
            "--url", help="top, stacks: the page's address, as the log of its crawl has it"
        )

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """Ask for a reactor only if something crawls: a check must not install one."""
        super().process_options(args, opts)
        self.requires_crawler_process = args[:1] == ["replay"]

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do what the first word says.

        Raises:
            UsageError: there is no such word, or what it needs is missing.
        """
        word, rest = (args or [""])[0], args[1:]
        if word not in _ARGUMENTS:
            raise UsageError(f"there is no {word!r}: say one of {', '.join(_ARGUMENTS)}")
        if len(rest) not in _ARGUMENTS[word]:
            raise UsageError(f"{len(rest)} words are too many or too few behind {word!r}")
        try:
            if word == "check":
                self._check(*rest)
            elif word == "settings":
                self._settings(next(iter(rest), None), opts.changed)
            elif word == "init":
                self._init(opts.yes)
            elif word == "replay":
                self._replay(Path(rest[0]), opts)
            else:
                self._watch(word == "top", next(iter(rest), None), opts)
        except _Refused as reason:
            print(f"scrapy mpworkers {args[0]}: {reason}", file=sys.stderr)
            self.exitcode = 2

    def _init(self, is_sure: bool) -> None:
        from scrapy_mpworkers.commands import init
        from scrapy_mpworkers.crawl.silence import settings_file

        file = settings_file()
        if not inside_project() or file is None:
            raise _Refused("run it inside the Scrapy project whose settings it shall change")
        if init.has_addon(self.settings):
            print(f"The add-on is in ADDONS already. {init.NEXT}")
            return
        try:
            before, encoding = init.read(file)
            after = init.with_addon(before, len(self.settings.getdict("ADDONS")))
            print(*init.diff(file, before, after), sep="\n")
            if not is_sure and not _agreed(f"Write this to {file}? [y/N] "):
                raise _Refused("nothing was changed")
            print(f"The old file is {init.write(file, after, encoding)}. {init.NEXT}")
        except init.CannotEdit as why:
            raise _Refused(
                f"{file} is not changed, as {why}. Put this entry into it by hand:\n{init.LINE}"
            ) from None
        except OSError as error:
            raise _Refused(f"{file} is not changed: {error.strerror or error}") from None

    def _check(self, name: str | None = None) -> None:
        from scrapy_mpworkers.commands.check import check_settings
        from scrapy_mpworkers.commands.findings import findings

        if not inside_project():
            raise _Refused("run it inside the Scrapy project whose settings it shall check")
        whose, spidercls, spiders = self._chosen(name)
        check = check_settings(self.settings, spidercls, spiders)
        print(findings(check, whose))
        self.exitcode = 1 if check.would_fail else 0

    def _settings(self, name: str | None, only_changed: bool) -> None:
        from scrapy_mpworkers.commands.settings import in_effect, text

        # What the add-on warns of is printed, too.
        logging.getLogger("scrapy_mpworkers").addHandler(logging.NullHandler())
        whose, spidercls = "the settings where there is no project: defaults, and -s", Spider
        if inside_project():
            whose, spidercls, _ = self._chosen(name)
        elif name is not None:
            raise _Refused(f"run it inside the Scrapy project that has the spider {name!r}")
        found = in_effect(self.settings, spidercls)
        print(text(found, whose, only_changed))
        self.exitcode = 1 if found.refusals else 0

    def _chosen(self, name: str | None) -> tuple[str, type[Spider], list[type[Spider]]]:
        """Return whose settings count, in a few words, and the class of the spider: that of *name*
        or the only one of the project, else Scrapy's own, with all that the project has."""
        AddonManager.load_pre_crawler_settings(self.settings)
        loader = get_spider_loader(self.settings)
        known = sorted(loader.list())
        if name is not None and name not in known:
            raise _Refused(
                f"this project has no spider {name!r} (its spiders: {', '.join(known) or 'none'})"
            )
        if name is None and len(known) == 1:
            [name] = known
        if name is None:
            spiders = [loader.load(one) for one in known]
            return "the project's settings, without those of a spider", Spider, spiders
        return f"the settings of the spider {name}", loader.load(name), []

    def _watch(self, is_top: bool, spider: str | None, opts: argparse.Namespace) -> None:
        from scrapy_mpworkers.commands.pages import PageError, find_pages, print_stacks

        try:
            pages = find_pages(opts.url)
            if not is_top:
                print_stacks(pages, spider)
                return
            from scrapy_mpworkers.commands.top import print_once, watch

            (print_once if opts.once else watch)(pages, spider)
        except ImportError as missing:
            raise _Refused(f"{missing}: pip install 'scrapy-mpworkers[top]'") from None
        except PageError as reason:
            raise _Refused(str(reason)) from None
        except KeyboardInterrupt:  # the way to leave
            return

    def _replay(self, path: Path, opts: argparse.Namespace) -> None:
        from scrapy_mpworkers.commands.replay import Replay, next_free
        from scrapy_mpworkers.stores.dead_letters import DeadLetterFile

        stored = self._stored(path)
        again = DeadLetterFile(next_free(path.absolute()))
        replays = [Replay(stored, spider, again) for spider in stored.spiders]
        crawls = [(one, self.crawler_process.create_crawler(one.spider)) for one in replays]
        self._spare_feeds([crawler for _, crawler in crawls], opts)
        self._crawl_in_turn(iter(crawls), opts.spargs)
        self.crawler_process.start()
        counts: Counter[str] = Counter()
        for replay in replays:
            replay.finish()
            counts += replay.counts
        print(_summary(counts, again.path, path, stored))
        stored.close()
        if counts["again"] or self.crawler_process.bootstrap_failed:
            self.exitcode = 1

    def _stored(self, path: Path) -> StoredLetters:
        """Read the letters in the file, and refuse those of spiders that the project lacks."""
        from scrapy_mpworkers.stores.dead_letters import StoredLetters

        if not inside_project():
            raise _Refused("run it inside the Scrapy project that has the spider of the letters")
        try:
            stored = StoredLetters(path)
        except NotPrivateError as error:
            raise _Refused(str(error)) from None
        except OSError as error:
            raise _Refused(f"{path} cannot be read: {error.strerror or error}") from None
        if not stored.spiders:
            raise _Refused(f"there are no dead letters in {path}")
        known = self.crawler_process.spider_loader.list()
        for name in stored.spiders:
            if name not in known:
                raise _Refused(
                    f"{path} has letters of the spider {name!r}, which this project does not have "
                    f"(its spiders: {', '.join(sorted(known)) or 'none'})"
                )
        return stored

    def _spare_feeds(self, crawlers: list[Crawler], opts: argparse.Namespace) -> None:
        """Keep what is in feeds that a replay would overwrite: leave them out if the command line
        names others."""
        from scrapy_mpworkers.commands.feeds import given_feeds, settle_feeds

        given = given_feeds(opts, self.settings)
        settled = [settle_feeds(one, given, one is crawlers[0]) for one in crawlers]
        lost = list(dict.fromkeys(itertools.chain.from_iterable(settled)))
        if not lost:
            return
        names = ", ".join(lost)
        if not given:
            raise _Refused(
                f"it would overwrite what is in {names}, which the settings list as a feed: say "
                "where the replayed items shall go instead with -o replayed.jsonl, which appends"
            )
        print(f"Not written in this replay, which would overwrite what is there: {names}")

    def _crawl_in_turn(
        self, crawls: Iterator[tuple[Replay, Crawler]], spargs: dict[str, str]
    ) -> None:
        """Crawl once after the other: at once they would write to the same feeds."""
        replay, crawler = next(crawls, (None, None))
        if replay is None or crawler is None:
            return
        replay.attach(crawler)
        ended: Any = self.crawler_process.crawl(crawler, **spargs)

        def go_on(result: Any) -> Any:
            self._crawl_in_turn(crawls, spargs)
            return result

        # A Task or a Deferred, as the reactor is. The next crawl is known to the process before
        # it looks whether any is left.
        add_callback = getattr(ended, "add_done_callback", None) or ended.addBoth
        add_callback(go_on)


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        print()
        return False


class _Refused(Exception):
    """Says in one sentence why nothing is done."""


def _summary(counts: Counter[str], again: Path, path: Path, stored: StoredLetters) -> str:
    where = f" in {again}" if counts["again"] else ""
    text = (
        f"Replayed {counts.total()} dead letters: {counts['done']} done, {counts['dropped']} "
        f"dropped, {counts['again']} again{where}"
    )
    if stored.skipped == 1:
        text += f"; 1 line of {path} is no letter and was skipped"
    elif stored.skipped:
        text += f"; {stored.skipped} lines of {path} are no letters and were skipped"
    if stored.has_grown:
        text += f"; others have come to {path} meanwhile, so keep it"
    return text
