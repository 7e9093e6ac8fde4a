"""A replay has settings of its own, whatever its command line says."""

from __future__ import annotations

from pathlib import Path

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import Settings

from scrapy_mpworkers.commands.replay import Replay
from scrapy_mpworkers.stores.dead_letters import DeadLetterFile, StoredLetters


def test_command_line_does_not_bring_back_a_jobdir_or_the_old_file_of_letters(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "dead.jsonl", tmp_path / "dead.2.jsonl"
    old.touch(0o600)
    said = Settings()
    names = {"JOBDIR": "job", "MPWORKERS_JOURNAL": "1", "MPWORKERS_DEAD_LETTERS": str(old)}
    said.setdict(names, priority="cmdline")
    crawler = Crawler(Spider, said)

    Replay(StoredLetters(old), "shop", DeadLetterFile(new)).attach(crawler)
    crawler.settings.update(said)  # as CrawlerProcess.crawl does

    assert crawler.settings["JOBDIR"] is None
    assert not crawler.settings.getbool("MPWORKERS_JOURNAL")
    assert crawler.settings["MPWORKERS_DEAD_LETTERS"] == str(new)
