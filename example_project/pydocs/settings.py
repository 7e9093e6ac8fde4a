"""Scrapy's settings of the example: the first block is what moves the work to workers."""

import time

from pydocs import INDEX

ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_LEVELS = [
    # Reading a page and finding its keywords costs 60 to 100 ms of CPU: on all cores.
    {
        "name": "compute",
        "pipelines": {"pydocs.pipelines.ExtractText": 300, "pydocs.pipelines.Keywords": 310},
    },
    # One worker sees every page, so that pages can be compared with each other; it commits once
    # for many. The crawl goes on meanwhile, and waits for it at the end.
    {
        "name": "store",
        "pipelines": {"pydocs.pipelines.NearCopies": 400, "pydocs.pipelines.SearchIndex": 500},
        "workers": 1,
        "batch_size": 100,
        "batch_seconds": 1.0,
        "wait": False,
    },
]

# The page of a module is parsed there, too.
MPWORKERS_CALLBACKS = ["parse_module"]

# Settings of this project: where SearchIndex writes (an SQLite file, or postgresql://...), and
# what tells the rows of this crawl from older ones, in each of its workers.
STORE_DSN = INDEX
CRAWL_STARTED = time.time()

# Beside the workers: how late the reactor is, which is what they free.
EXTENSIONS = {"pydocs.lag.ReactorLag": 500}

BOT_NAME = "pydocs"
SPIDER_MODULES = ["pydocs.spiders"]
LOG_LEVEL = "INFO"

# The site is a folder on this machine: there is nobody to be polite to.
ROBOTSTXT_OBEY = False
DOWNLOAD_DELAY = 0
CONCURRENT_REQUESTS_PER_DOMAIN = 16
