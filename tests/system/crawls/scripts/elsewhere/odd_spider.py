"""A spider that is loaded from its path, and cannot be pickled by value either."""

import os
import threading

import scrapy


class LoadedSpider(scrapy.Spider):
    name = "loaded"
    shelf = "B"
    lock = threading.Lock()

    def helper(self):
        return "helped by a plug-in"

    def shouted(self):
        return LoadedSpider.shelf.lower() + super().__str__()[:7]

    async def start(self):
        yield {"spider": self.name, "pid": os.getpid()}
