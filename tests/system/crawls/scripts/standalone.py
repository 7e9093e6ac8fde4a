"""A spider file as `scrapy runspider` takes it, with its item class and its pipeline."""

import os

import scrapy

os.write(2, b"@run []\n")


class Page(scrapy.Item):
    n = scrapy.Field()
    pid = scrapy.Field()


class Extract:
    def process_item(self, item):
        assert type(item) is Page, type(item)
        item["pid"] = os.getpid()
        return item


class Check:
    def process_item(self, item):
        assert type(item) is Page, type(item)
        return item


class MySpider(scrapy.Spider):
    name = "myspider"
    start_urls = ["data:,"]
    custom_settings = {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Extract: 300},
        "MPWORKERS_WORKERS": 2,
        "ITEM_PIPELINES": {Check: 400},
    }

    def parse(self, response):
        for n in (1, 2, 3):
            yield Page(n=n)
