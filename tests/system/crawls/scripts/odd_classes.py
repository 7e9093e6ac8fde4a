"""Yields items with classes that nobody finds under their own names; says which came back."""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import odd_items
import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

PLUGIN = Path(__file__).parent / "elsewhere" / "odd_plugin.py"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, PLUGIN)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    plugin = loaded("shop_plugin")
    forgotten = loaded("forgotten_plugin")
    del sys.modules["forgotten_plugin"]
    shadowing = loaded("colorsys")  # a module of that name is in the library
    executed = sys.modules["executed"] = types.ModuleType("executed")
    exec(PLUGIN.read_text(), executed.__dict__)
    rebound, odd_items.Rebound = odd_items.Rebound, None
    local = odd_items.local_class()
    locals_ = odd_items.local_objects()
    decorated = odd_items.Decorated.func

    objects = {
        "Product": odd_items.Product(1, 2),
        "Model": odd_items.Model(n=1, a=2),
        "Row": odd_items.Row(n=1, a=2),
        "Point": odd_items.Point(1, 2),
        "Colour": odd_items.Colour.RED,
        "FIRST": odd_items.FIRST(1, 2),
        "decorated": decorated(1, 2),
        "rebound": rebound(1, 2),
        "local": local(1, 2),
        "plugin": plugin.Record(1, 2),
        "plugin_enum": plugin.Kind.NEW,
        "forgotten": forgotten.Record(1, 2),
        "shadowing": shadowing.Record(1, 2),
        "executed": executed.Record(1, 2),
        **{f"local_{type(one).__name__}": one for one in locals_},
    }

    class OddSpider(scrapy.Spider):
        name = "odd"

        async def start(self):
            for n, (kind, it) in enumerate(objects.items()):
                yield {"n": n, "kind": kind, "it": it}
            yield {"n": len(objects), "kind": "made_there", "it": None}

    old = {
        "plugin": plugin.Kind.OLD,
        "forgotten": forgotten.Kind.OLD,
        "shadowing": shadowing.Kind.NEW,  # no pipeline knows it
        "executed": executed.Kind.OLD,
    }

    class Check:
        def process_item(self, item):
            it, kind = item.pop("it"), item["kind"]
            if kind == "made_there":
                item["same"] = (
                    (type(it[0]).__name__, it[0].a) == ("Local", 2)
                    and type(it[1]) is odd_items.Product
                    and it[2] is odd_items.Colour.GREEN
                    and it[3].name == "DARK"
                )
                return item
            item["same"] = type(it) is type(objects[kind]) and (
                it.kind is old[kind]
                if kind in old
                else kind != "local" or it.colour is local.Shade.DARK
            )
            item["a"] = getattr(it, "a", None)
            return item

    settings = json.loads(os.environ["CRAWL_SETTINGS"])
    without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
    process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
        settings={
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_LEVELS": [
                {
                    "name": "odd",
                    "workers": 2,
                    "key": plugin.key_of,
                    "pipelines": {
                        odd_items.Work: 1,
                        plugin.Plugged: 2,
                        forgotten.Plugged: 3,
                        "executed.Plugged": 4,
                    },
                }
            ],
            "ITEM_PIPELINES": {Check: 400},
            **settings,
        }
    )
    process.crawl(OddSpider)
    process.start()


main()
