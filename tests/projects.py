"""Makes Scrapy projects of a few lines, each for one test: of texts, or of the shop below."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEGINNING = {
    "scrapy.cfg": "[settings]\ndefault = shop.settings\n",
    "shop/__init__.py": "",
    "shop/settings.py": """
        BOT_NAME = "shop"
        SPIDER_MODULES = ["shop.spiders"]
        TELNETCONSOLE_ENABLED = False
        ADDONS = {"scrapy_mpworkers.Addon": 500}
        MPWORKERS_WORKERS = 2
        MPWORKERS_PIPELINES = {"shop.pipelines.Price": 300}
    """,
    "shop/spiders.py": """
        import scrapy

        class Things(scrapy.Spider):
            name = "things"
            count = 8

            async def start(self):
                for n in range(int(self.count)):
                    yield {"n": n}
    """,
    "shop/pipelines.py": """
        class Price:
            def process_item(self, item):
                return item
    """,
}

#: Behind all that the project's own settings do: those of the test.
SETTINGS_OF_THE_TEST = """
import json, os
globals().update(json.loads(os.environ.get("CRAWL_SETTINGS", "{}")))
"""


def make_project(folder: Path, files: Mapping[str, str]) -> Path:
    """A project in a new folder, with these files in the place of its own, or behind them if their
    name begins with ``+``."""
    texts = {path: dedent(text) for path, text in BEGINNING.items()}
    for path, text in files.items():
        name = path.removeprefix("+")
        before = texts.get(name, "") if path.startswith("+") else ""
        texts[name] = before + dedent(text)
    texts["shop/settings.py"] += SETTINGS_OF_THE_TEST
    return write_files(folder, texts)


def write_files(folder: Path, texts: Mapping[str, str]) -> Path:
    """Write each text to its path below the folder; return the folder."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return folder
