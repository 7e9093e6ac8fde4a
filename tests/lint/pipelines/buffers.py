"""Pipelines that write to memory, to nowhere, to a file of their own; and to real files."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tarfile
import tempfile
import zipfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

QUIET: dict = {}


class Gzips:
    verdict = QUIET

    def process_item(self, item):
        buffer = BytesIO()
        with gzip.GzipFile(mode="wb", fileobj=buffer) as file:
            file.write(item["body"])
        item["gz"] = buffer.getvalue()
        return item


class GzipsByPosition:
    verdict = QUIET

    def process_item(self, item):
        buffer = io.BytesIO()
        file = gzip.GzipFile("", "wb", 9, buffer)
        file.write(item["body"])
        file.close()
        item["gz"] = buffer.getvalue()
        return item


class Packs:
    verdict = QUIET

    def process_item(self, item):
        with BytesIO() as buffer:
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("page.html", item["html"])
                with archive.open("extra.txt", "w") as member:
                    member.write(b"more")
            item["zip"] = buffer.getvalue()
        return item


class Tars:
    verdict = QUIET

    def process_item(self, item):
        buffer = BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("page"), BytesIO(item["body"]))
        item["tar"] = buffer.getvalue()
        return item


class Squeezes:
    verdict = QUIET

    def process_item(self, item):
        for opener in (0, 1):
            buffer = BytesIO()
            file = bz2.open(buffer, "wb") if opener else lzma.open(buffer, "wb")
            file.write(item["body"])
        return item


class WritesCsvInMemory:
    verdict = QUIET

    def process_item(self, item):
        text = StringIO(newline="")
        csv.writer(text).writerow(item.values())
        pd.DataFrame([item]).to_csv(text, mode="a")
        json.dump(dict(item), text)
        item["line"] = text.getvalue()
        return item


class KeepsItsBuffer:
    verdict = QUIET

    def open_spider(self):
        self.buffer = StringIO()
        self.writer = csv.writer(self.buffer)

    def process_item(self, item):
        self.buffer.seek(0)
        self.buffer.truncate()
        self.writer.writerow(item.values())
        item["line"] = self.buffer.getvalue()
        return item


class PacksByAHelper:
    verdict = QUIET

    def _pack(self, target, body):
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr("page", body)

    def process_item(self, item):
        buffer = BytesIO()
        self._pack(buffer, item["body"])
        Image.open(BytesIO(item["body"])).save(buffer, "PNG")
        item["packed"] = buffer.getvalue()
        return item


class IntoNowhere:
    verdict = QUIET

    def open_spider(self):
        self.null = open(os.devnull, "w")
        self.other = Path("/dev/null").open("w")

    def process_item(self, item):
        print(item, file=self.null)
        return item


class IntoATemporaryFile:
    verdict = QUIET

    def process_item(self, item):
        with tempfile.NamedTemporaryFile() as file:
            with open(file.name, "wb") as again:
                again.write(item["body"])
            with open(tempfile.mktemp(), "w") as other:
                other.write("x")
        return item


class OpensInAnArchiveOfTheItem:
    """``open("a.txt")`` of something unknown: the name of a member is no mode."""

    verdict = QUIET

    def process_item(self, item):
        item["text"] = item["archive"].open("waxes.txt").read()
        return item


class GzipsAFile:
    verdict: ClassVar[dict] = {"file": ("self.file",)}

    def open_spider(self):
        self.file = gzip.GzipFile("items.gz", "wb")

    def process_item(self, item):
        self.file.write(item["body"])
        return item


class GzipsAFileThatIsOpen:
    verdict: ClassVar[dict] = {"file": ("self.raw",)}

    def open_spider(self):
        self.raw = open("items.gz", "wb")
        self.file = gzip.GzipFile(mode="wb", fileobj=self.raw)

    def process_item(self, item):
        self.file.write(item["body"])
        return item


class GzipsAFileInSpiteOfNone:
    verdict: ClassVar[dict] = {"file": ("self.file",)}

    def open_spider(self):
        self.file = gzip.GzipFile("items.gz", "wb", fileobj=None)

    def process_item(self, item):
        self.file.write(item["body"])
        return item


class PacksIntoOneArchive:
    verdict: ClassVar[dict] = {"file": ("self.archive",)}

    def open_spider(self):
        self.archive = zipfile.ZipFile("pages.zip", "w")

    def process_item(self, item):
        self.archive.writestr(item["id"], item["html"])
        return item


class IntoSharedMemory:
    """A file, though below /dev."""

    verdict: ClassVar[dict] = {"file": ("self.file",)}

    def open_spider(self):
        self.file = open("/dev/shm/items.jl", "w")

    def process_item(self, item):
        self.file.write(json.dumps(item))
        return item


class AppendsToATable:
    verdict: ClassVar[dict] = {"file": ("pd.DataFrame([item]).to_csv('items.csv', mode='a')",)}

    def process_item(self, item):
        pd.DataFrame([item]).to_csv("items.csv", mode="a")
        return item


class CompressesAFile:
    verdict: ClassVar[dict] = {"file": ("self.file",)}

    def open_spider(self):
        self.file = lzma.LZMAFile("items.xz", mode="w")

    def process_item(self, item):
        self.file.write(item["body"])
        return item
