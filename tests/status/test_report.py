"""The file that a crawl leaves: one, whole, without what others may not see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scrapy.settings import Settings

from scrapy_mpworkers.status import report, shell

from .pages import HOSTILE, draw_report


def test_nothing_in_an_item_ends_the_element_that_holds_it(tmp_path: Path) -> None:
    html = draw_report(tmp_path / "report.html").read_text("utf-8")

    [data] = re.findall(r'<script type="application/json" id="report">(.*?)</script>', html)

    assert html.count("</script>") == shell.html().count("</script>")
    assert json.loads(data)["snapshot"]["events"][0]["label"] == HOSTILE


def test_a_report_has_no_passwords(tmp_path: Path) -> None:
    html = draw_report(tmp_path / "report.html").read_text("utf-8")

    assert "tls://\\u2026@host:1" in html
    assert "secret" not in html


def test_a_report_may_run_its_own_script_only(tmp_path: Path) -> None:
    html = draw_report(tmp_path / "report.html").read_text("utf-8")

    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)

    assert policy == shell.policy(shell.html())
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_a_report_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    older = tmp_path / "report.html"
    older.mkdir()

    with pytest.raises(OSError):
        draw_report(older)

    assert list(tmp_path.iterdir()) == [older]


def test_settings_that_are_not_ours_are_not_told() -> None:
    settings = Settings({"AWS_SECRET_ACCESS_KEY": "x", "MPWORKERS_TYPO": 1, "MPWORKERS_WORKERS": 3})

    told = dict(report.facts(settings, "")["settings"])

    assert told["MPWORKERS_WORKERS"] == "3"
    assert not {"AWS_SECRET_ACCESS_KEY", "MPWORKERS_TYPO"} & told.keys()
