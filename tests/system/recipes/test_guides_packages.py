"""The guides of models and files, with the packages of the extra ``guides``."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from .guides import by_url, needs

if TYPE_CHECKING:
    from pathlib import Path


def test_spacy_finds_sentences_and_entities(cook: Any) -> None:
    needs("spacy")
    text = "Acme Corporation sells anvils. They are heavy."
    items = [{"url": f"u{n}", "text": text} for n in range(40)]

    _, ended = cook("spaCy", items)

    assert len(ended.items) == 40
    for item in ended.items:
        assert item["sentences"] == ["Acme Corporation sells anvils.", "They are heavy."]
        assert item["entities"] == [["Acme Corporation", "ORG"]]


def test_embeddings_of_like_sentences_are_alike(cook: Any, monkeypatch: Any) -> None:
    needs("wordllama")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sentences = ["A cat sat on the mat.", "A kitten sat on a rug.", "Interest rates rose."]
    items = [{"url": f"u{n}", "text": text} for n, text in enumerate(sentences)]

    _, ended = cook("Sentence embeddings", items)

    cat, kitten, rates = (item["embedding"] for item in by_url(ended))
    assert len(cat) == 256
    assert product(cat, cat) == pytest.approx(1, abs=0.01)
    assert product(cat, kitten) > 2 * product(cat, rates)


def product(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


#: softmax(x · [[1, -1], [0, 0]]), of an input of any number of rows of two.
MODEL = base64.b64decode(
    "CAg6fQoRCgF4CgF3EgF5IgZNYXRNdWwKHAoBeRIBcCIHU29mdG1heCoLCgRheGlzGAGgAQISAWcqGwgCCAIQAUIBd0oQ"
    "AACAPwAAgL8AAAAAAAAAAFoUCgF4Eg8KDQgBEgkKAxIBbgoCCAJiFAoBcBIPCg0IARIJCgMSAW4KAggCQgQKABAN"
)


def test_onnx_model_scores_items(cook: Any, tmp_path: Path) -> None:
    needs("onnxruntime", "numpy")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/model.onnx").write_bytes(MODEL)
    items = [{"url": f"u{n}", "features": [n, 0]} for n in range(3)]

    _, ended = cook("ONNX", items)

    scores = [item["scores"] for item in by_url(ended)]
    assert scores[0] == [0.5, 0.5]
    assert scores[1] == pytest.approx([0.8808, 0.1192], abs=0.001)
    assert ended.stats["mpworkers/score/items/done"] == 3


# Files

PDF_SPIDER = """
import base64
import json
import re

import scrapy


class PdfSpider(scrapy.Spider):
    name = "pdf"

    async def start(self):
        for item in json.load(open("items.json")):
            yield {"url": item["url"], "body": base64.b64decode(item["body"])}
"""


def test_text_of_pdf_files_is_taken_out(cook: Any) -> None:
    needs("pypdf", "fpdf")
    items = [{"url": f"u{n}", "body": pdf(f"Page {n}", "The end")} for n in range(3)]
    items.append({"url": "u3", "body": base64.b64encode(b"%PDF-1.7 and no more").decode()})

    also = {"myproject/spiders/pdf.py": PDF_SPIDER}
    _, ended = cook("Text of PDF files", items, also=also, spider="pdf")

    assert [item["text"] for item in by_url(ended)] == [f"Page {n}\nThe end" for n in range(3)]
    assert {item["pages"] for item in ended.items} == {2}
    assert all("body" not in item for item in ended.items)
    assert ended.stats["mpworkers/items/failed"] == 1
    assert "PdfStreamError" in ended.log or "PdfReadError" in ended.log


def pdf(*pages: str) -> str:
    """A PDF file with these texts, in base64."""
    code = f"""
import base64, fpdf
pdf = fpdf.FPDF()
pdf.set_font("helvetica")
for text in {pages!r}:
    pdf.add_page()
    pdf.cell(text=text)
print(base64.b64encode(bytes(pdf.output())).decode())
"""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


SMALLER = """
MPWORKERS_LEVELS[0]["batch_size"] = 50
"""
READ = "import pandas; print(pandas.read_parquet('pages.parquet').to_json(orient='records'))"


def test_parquet_files_have_every_item_once(cook: Any) -> None:
    needs("pandas", "pyarrow")
    items = [{"url": f"u{n:03}", "words": n} for n in range(120)]

    also = {"myproject/settings.py": SMALLER}
    project, ended = cook("Parquet with pandas", items, also=also)

    read = [sys.executable, "-c", READ]
    out = subprocess.run(read, cwd=project, capture_output=True, text=True, check=True).stdout
    assert sorted(json.loads(out), key=lambda row: row["words"]) == items
    assert 3 <= len([*(project / "pages.parquet").iterdir()]) <= 4
    assert len(ended.items) == 120
    assert ended.stats["mpworkers/write/items/done"] == 120
