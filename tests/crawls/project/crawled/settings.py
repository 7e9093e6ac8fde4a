"""Settings of the project; a test lays its own over them, with their real types."""

import json
import os

BOT_NAME = "crawled"
SPIDER_MODULES = ["crawled.spiders", "crawled.calling", "crawled.enders", "crawled.taught"]

ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_WORKERS = 2

TELNETCONSOLE_ENABLED = False

globals().update(json.loads(os.environ.get("CRAWL_SETTINGS", "{}")))
