"""The guide of Django, with its ORM and a management command."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from system.crawls.harness import World

from .book import code_of, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from system.crawls.harness import Launcher

WORLD = World("asyncio", "forkserver")
PAGES = [{"url": f"http://pages.test/{n}", "title": f"Ä {n}"} for n in range(30)]
DJANGO = {
    "site_settings.py": """
from pathlib import Path

SECRET_KEY = "secret"
INSTALLED_APPS = ["pages"]
NAME = Path(__file__).with_name("pages.db")
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": NAME}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
""",
    "pages/__init__.py": "",
    "pages/models.py": """
from django.db import models


class Page(models.Model):
    url = models.TextField(unique=True)
    title = models.TextField()
""",
    "pages/management/__init__.py": "",
    "pages/management/commands/__init__.py": "",
    "pages/management/commands/crawl.py": """
from django.core.management.base import BaseCommand
from scrapy.crawler import CrawlerProcess
from scrapy.utils.project import get_project_settings


class Command(BaseCommand):
    def handle(self, **options):
        process = CrawlerProcess(get_project_settings())
        process.crawl("items")
        process.start()
""",
    "manage.py": """
import os, sqlite3, sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    connection = sqlite3.connect("pages.db")
    connection.execute(
        "create table pages_page (id integer primary key, url text unique, title text)"
    )
    connection.commit()
    execute_from_command_line(sys.argv)
""",
}


def stored(project: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(project / "pages.db")) as connection:
        return sorted(url for (url,) in connection.execute("select url from pages_page"))


@pytest.mark.full
@pytest.mark.parametrize("sets_up", ["settings", "manage.py"])
def test_items_are_stored_in_django_models(launch: Launcher, tmp_path: Path, sets_up: str) -> None:
    pytest.importorskip("django")
    recipe = "Store in Django models"
    project = make_project(tmp_path / "project", recipe, PAGES, DJANGO)
    in_settings, of_manage_py = (text for path, text in code_of(recipe) if "settings" in path)
    text = (project / "myproject/settings.py").read_text()
    without = of_manage_py if sets_up == "settings" else "django.setup()\n"
    (project / "myproject/settings.py").write_text(text.replace(without, ""))

    ended = launch.start(["manage.py", "crawl"], project, world=WORLD).finish()

    assert stored(project) == sorted(page["url"] for page in PAGES), ended.log
    assert ended.stats["mpworkers/store/items/done"] == 30
    assert ended.exit_code == 0


def test_items_are_stored_by_the_asynchronous_orm(launch: Launcher, tmp_path: Path) -> None:
    pytest.importorskip("django")
    recipe = "Without the variable: the asynchronous ORM"
    project = make_project(tmp_path / "project", recipe, PAGES, DJANGO)

    ended = launch.start(["manage.py", "crawl"], project, world=WORLD).finish()

    assert stored(project) == sorted(page["url"] for page in PAGES), ended.log
    assert ended.stats["mpworkers/store/items/done"] == 30
