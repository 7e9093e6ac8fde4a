"""Scrapy's settings of the example: the first block is what moves the heavy work to workers."""

from pydocs import INDEX

# Reading a page and finding its keywords costs 60 to 100 ms of CPU. These two were in
# ITEM_PIPELINES; that they moved here is all that changed, their code knows nothing of it.
ADDONS = {"scrapy_mpworkers.Addon": 500}
MPWORKERS_PIPELINES = {
    "pydocs.pipelines.ExtractText": 300,
    "pydocs.pipelines.Keywords": 310,
}

# On the same number line, behind the workers: one place that sees every page, so that pages can
# be compared with each other and one connection writes the index.
ITEM_PIPELINES = {
    "pydocs.pipelines.NearCopies": 400,
    "pydocs.pipelines.SearchIndex": 500,
}

# Where SearchIndex writes: a setting of this project.
INDEX_PATH = str(INDEX)

BOT_NAME = "pydocs"
SPIDER_MODULES = ["pydocs.spiders"]
LOG_LEVEL = "INFO"

# The site is a folder on this machine: there is nobody to be polite to.
ROBOTSTXT_OBEY = False
DOWNLOAD_DELAY = 0
CONCURRENT_REQUESTS_PER_DOMAIN = 16
