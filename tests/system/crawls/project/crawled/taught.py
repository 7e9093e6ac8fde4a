"""A spider that brings its pipelines along."""

from __future__ import annotations

from .spiders import StartSpider as _StartSpider


class TaughtSpider(_StartSpider):
    name = "taught"
    custom_settings = {"MPWORKERS_PIPELINES": {"crawled.teaching.Duplicates": 300}}
