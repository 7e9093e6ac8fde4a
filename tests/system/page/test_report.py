"""The report that a real crawl leaves, in a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Page, expect
from status.pages import draw_report
from status.pictures import BORN, busy, idle, snapshot

from scrapy_mpworkers.status.history import History
from scrapy_mpworkers.status.snapshot import Event

from ..crawls.harness import World, offload, worlds

if TYPE_CHECKING:
    from pathlib import Path

    from ..crawls.harness import Launcher
    from .browser import Window


def test_a_report_shows_the_crawl_and_a_hostile_item_does_not_break_it(
    launch: Launcher, window: Window, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    settings = offload("Slow") | {"MPWORKERS_REPORT": str(report), "MPWORKERS_WORKERS": 2}
    crawl = launch.crawl("hostile", World("asyncio", "fork"), "items=10", **settings)
    ended = crawl.finish()

    def look(page: Page) -> Any:
        expect(page.locator("#spider")).to_have_text("hostile")
        expect(page.locator("#levels")).to_contain_text("items done10")
        expect(page.locator("#slowest [title^='http://a/']")).to_have_count(10)
        expect(page.locator("#workers tbody tr")).to_have_count(2)
        expect(page.locator("#summary")).to_contain_text("10 submitted: 10 done")
        expect(page.locator("#settings")).to_contain_text("MPWORKERS_PIPELINES")
        assert page.locator("#main img, #main script").count() == 0
        return json.loads(page.locator("#report").text_content() or "")

    told = window.look(report.as_uri(), look)

    assert sum(told["history"]["levels"][0]["settled"]) > 0
    assert len(told["history"]["workers"]) == 2
    assert f"The workers' report is in {report}" in ended.log
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report.html"]


def test_the_page_fits_its_window(window: Window, tmp_path: Path) -> None:
    report = draw_report(tmp_path / "report.html")

    def look(page: Page) -> Any:
        expect(page.locator("#workers tbody tr")).to_have_count(2)
        return page.evaluate("document.documentElement.scrollWidth")

    for width in (360, 800, 1280):
        assert window.look(report.as_uri(), look, viewport={"width": width, "height": 800}) <= width


def test_at_the_end_the_level_tells_of_workers_that_were_replaced(
    window: Window, tmp_path: Path
) -> None:
    report = draw_report(tmp_path / "report.html")

    def look(page: Page) -> None:
        expect(page.locator("#levels")).to_contain_text("1 worker replaced")
        expect(page.locator("#workers .restarts.warn")).to_have_text("1")

    window.look(report.as_uri(), look)


def test_what_a_page_adds_to_what_it_was_told_is_the_whole(window: Window, tmp_path: Path) -> None:
    history, told, whole = History(), [], []
    for second in range(1, 61):
        number, since = divmod(second, 4)
        long = busy(since + 0.5, "long", number + 1, settled=number, busy_seconds=second * 0.9)
        share = 0.1 + number % 3 * 0.3
        short = idle(name="worker-2", settled=7 * second, busy_seconds=second * share)
        died = Event(BORN + second - 0.5, "death", "", "worker-2", "ended", "", second - 0.5)
        late = [idle(name="worker-3", settled=second)] if second > 30 else []
        history.add(snapshot(second + 0.123, long, short, *late, done=second, events=(died,)))
        if second % 2:
            told.append(history.as_dict(last=10.0) if told else history.as_dict())
            whole.append(history.as_dict() | {"since": told[-1]["since"]})
    report = draw_report(tmp_path / "report.html")

    def look(page: Page) -> Any:
        return page.evaluate(
            "told => { let kept = null; return told.map(one => kept = joined(kept, one)); }", told
        )

    assert window.look(report.as_uri(), look) == whole


def test_a_death_is_drawn_once_though_the_clock_has_moved_since(
    window: Window, tmp_path: Path
) -> None:
    report = draw_report(tmp_path / "report.html")
    died = [Event(BORN + at, "death", "", "worker-2", "ended", "", at) for at in (2.5, 7.5)]
    history = History()
    history.add(snapshot(5.0, idle(), events=tuple(died[:1])))
    views = [
        {
            "history": history.as_dict(),
            "snapshot": snapshot(8.0, idle(), events=tuple(died))
            ._replace(taken_at=BORN + 8 + moved)
            .as_dict(),
        }
        for moved in (-3600, 0.02, 3600)
    ]

    def look(page: Page) -> Any:
        return page.evaluate(
            "views => views.map(view => marksOf(view).map(mark => mark.at))", views
        )

    assert window.look(report.as_uri(), look) == [[2.5, 7.5]] * 3


@worlds(plain=False)
def test_a_crawl_that_fails_leaves_a_report_too(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    settings = offload("RaisesInOpen") | {"MPWORKERS_REPORT": str(report)}

    launch.crawl("start", world, **settings).finish()

    assert "MPWORKERS_PIPELINES" in report.read_text("utf-8")


def test_a_report_for_a_folder_that_is_not_there_is_refused_at_the_start(launch: Launcher) -> None:
    settings = offload("Mark") | {"MPWORKERS_REPORT": "/no/such/folder/report.html"}

    ended = launch.crawl("start", World("none", "fork"), **settings).finish()

    assert ended.exit_code != 0
    assert "MPWORKERS_REPORT is '/no/such/folder/report.html', but it must be None or" in ended.log
