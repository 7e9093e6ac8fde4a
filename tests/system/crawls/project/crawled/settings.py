"""Settings of the project; a test lays its own over them, with their real types."""

import json
import os
import sys

BOT_NAME = "crawled"
_MODULES = ("spiders", "calling", "callbacks", "enders", "orphans", "taught")
SPIDER_MODULES = [f"crawled.{name}" for name in _MODULES]

ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_WORKERS = 2

TELNETCONSOLE_ENABLED = False
if "http://" not in " ".join(sys.argv):  # nor are their handlers loaded, a tenth of most crawls
    DOWNLOAD_HANDLERS = dict.fromkeys(("http", "https", "ftp", "s3"))

globals().update(json.loads(os.environ.get("CRAWL_SETTINGS", "{}")))
