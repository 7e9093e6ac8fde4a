"""Pipelines that ask a response, which came with the item, for what its request knows."""

from __future__ import annotations

from itemadapter import ItemAdapter


class AsksForMeta:
    failing = ["item['response'].meta"]

    def process_item(self, item, spider):
        item["depth"] = item["response"].meta["depth"]
        return item


class AsksForCallbackArguments:
    failing = ["response.cb_kwargs"]

    def process_item(self, item):
        response = item.pop("response")
        item["shop"] = response.cb_kwargs.get("shop")
        return item


class AsksForTheRequest:
    failing = ["adapter.get('resp').request"]

    def process_item(self, item):
        adapter = ItemAdapter(item)
        item["asked"] = adapter.get("resp").request.url
        return item


class AsksInAMethod:
    failing = ["page.meta"]

    def process_item(self, entry):
        return self._filled(entry, entry["response"])

    def _filled(self, entry, page):
        entry["proxy"] = page.meta.get("proxy")
        return entry


class AsksAnAttribute:
    failing = ["getattr(item.response, 'meta', {})"]

    def process_item(self, item):
        item.depth = getattr(item.response, "meta", {}).get("depth")
        return item


class KnowsItByWhatElseItDoes:
    failing = ["page.meta"]

    def process_item(self, item):
        page = item["page"]
        item["title"] = page.css("title::text").get()
        item["depth"] = page.meta["depth"]
        return item


class InBatches:
    failing = ["item['response'].meta"]

    def process_batch(self, items):
        for item in items:
            item["depth"] = item["response"].meta["depth"]
        return items

    def process_item(self, item):
        return self.process_batch([item])[0]


class AsksForWhatIsThere:
    failing: list = []

    def process_item(self, item):
        response = item["response"]
        item["links"] = [response.urljoin(a) for a in response.css("a::attr(href)").getall()]
        item["next"] = response.follow("next").url
        item["status"] = response.status, response.headers.get("Server"), response.flags
        return item


class AsksSomethingElseForMeta:
    """A Django model has a ``_meta``, an image a ``meta``, and an item a field of that name."""

    failing: list = []

    def process_item(self, item):
        item["camera"] = item["image"].meta["camera"]
        item["meta"] = item.get("meta") or {}
        item["kind"] = self.model.request
        return item

    model = None


class HasAnItemWithMeta:
    failing: list = []

    def process_item(self, item):
        item.meta["n"] = len(item.request)
        return item


class ItemOfTheParameter:
    """``response`` of a lambda is not that of the item."""

    failing: list = []

    def process_item(self, item):
        response = item["response"]
        item["n"] = max(
            self.pages, key=lambda response: response.meta["n"], default=response.status
        )
        return item

    pages = ()
