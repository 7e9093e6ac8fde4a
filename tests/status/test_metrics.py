"""Metrics can be read whatever the names in them are."""

from __future__ import annotations

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from scrapy_mpworkers.status.metrics import exposition


def test_name_that_utf_8_cannot_hold_is_a_label_all_the_same() -> None:
    level = {"name": "l\udfff", "pending": 1, "workers": []}
    crawl = {"spider": 'a"\ud800é', "state": "open", "elapsed": 1.5, "levels": [level]}

    text = exposition({0: crawl}).decode()

    labels = [one.labels for of in text_string_to_metric_families(text) for one in of.samples]
    assert {one["spider"] for one in labels} == {'a"\\ud800é'}
    assert {one["level"] for one in labels if "level" in one} == {"l\\udfff"}
