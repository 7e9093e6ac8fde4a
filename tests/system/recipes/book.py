"""Reads docs/recipes.md and the guides, and makes projects of their code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from projects import SETTINGS_OF_THE_TEST, write_files

DOCS = Path(__file__).parents[3] / "docs"
BOOK = DOCS / "recipes.md"
GUIDES = sorted((DOCS / "guides").glob("*.md"))

PIPELINES = "myproject/pipelines.py"
NOTHING: Mapping[str, str] = {}
BEGINNING = {
    "scrapy.cfg": "[settings]\ndefault = myproject.settings\n",
    "myproject/__init__.py": "",
    "myproject/settings.py": """
BOT_NAME = "myproject"
SPIDER_MODULES = ["myproject.spiders"]
TELNETCONSOLE_ENABLED = False
ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_WORKERS = 2
""",
    "myproject/spiders/__init__.py": "",
    "myproject/spiders/items.py": """
import json
import scrapy


class ItemsSpider(scrapy.Spider):
    name = "items"

    async def start(self):
        for item in json.load(open("items.json")):
            yield item
""",
}
ENDING = {"myproject/settings.py": SETTINGS_OF_THE_TEST}


def sections(page: Path) -> dict[str, str]:
    """The text of each section of a page, by its heading."""
    _, *parts = re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def recipes() -> dict[str, str]:
    """The text of each recipe, and of each section of a guide, by its heading.

    A heading of several guides ("What to watch for") is that of none that has code.
    """
    found: dict[str, str] = {}
    for page in (BOOK, *GUIDES):
        found |= {
            heading: text
            for heading, text in sections(page).items()
            if heading not in found or blocks(text)
        }
    return found


def blocks(text: str) -> list[str]:
    """The blocks of Python in a text."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def code_of(recipe: str) -> Iterator[tuple[str, str]]:
    """The code of a recipe: the file that it belongs to, and its text."""
    for block in blocks(recipes()[recipe]):
        first, _, text = block.partition("\n")
        yield first.removeprefix("# "), text


def make_project(
    folder: Path, recipe: str, items: list[dict[str, Any]], also: Mapping[str, str] = NOTHING
) -> Path:
    """A project that has followed the recipe, and whose spider yields *items*.

    Args:
        also: code behind that of the recipe, by the path of its file.
    """
    files = dict(BEGINNING)
    for path, text in (*code_of(recipe), *also.items(), *ENDING.items()):
        files[path] = f"{files.get(path, '')}\n{text}"
    write_files(folder, files)
    (folder / "items.json").write_text(json.dumps(items))
    return folder
