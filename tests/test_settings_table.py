"""The docs say of settings what the code says, and what it says leads somewhere."""

from __future__ import annotations

import re

import pytest
from settings_table import COMMAND, DOCS, DOCUMENTED, TABLES, renewed

from scrapy_mpworkers.settings.names import KEYS_OF_A_LEVEL


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_docs_are_those_of_the_code(name: str) -> None:
    text = (DOCS / name).read_text("utf-8")

    assert text == renewed(name, text), f"docs/{name} differs from the code: run {COMMAND}"


@pytest.mark.parametrize("name", TABLES)
def test_all_else_in_the_file_stays(name: str) -> None:
    text = (DOCS / name).read_text("utf-8")
    worn = text.replace("| meaning |", "| sense |")

    assert worn != text
    assert renewed(name, worn) == text


def test_each_setting_has_a_type_and_a_sentence() -> None:
    for row in (*DOCUMENTED, *KEYS_OF_A_LEVEL.values()):
        assert row.type, row.title
        assert re.fullmatch(r"\S.*[.…]", row.meaning), row.title


def test_the_links_of_the_sentences_lead_somewhere() -> None:
    for row in (*DOCUMENTED, *KEYS_OF_A_LEVEL.values()):
        for file, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", row.meaning):
            headings = re.findall(r"^#+ (.*)$", (DOCS / file).read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
            assert not anchor or anchor in anchors, f"{row.title}: {file}#{anchor}"
