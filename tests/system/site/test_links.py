"""Links of docs/ that lead out of it: as the forge follows them, and as the site does."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def load_hooks() -> Any:
    spec = spec_from_file_location("site_hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


hooks = load_hooks()


@pytest.mark.parametrize(
    ("here", "link", "shown"),
    [
        ("docs/design.md", "[a](levels.md#batches)", "[a](levels.md#batches)"),
        ("docs/design.md", "[a](../CONTRIBUTING.md#rules)", "[a](contributing.md#rules)"),
        ("docs/guides/one.md", "[a](../../CHANGELOG.md)", "[a](../changes.md)"),
        ("docs/guides/one.md", "[a](../levels.md)", "[a](../levels.md)"),
        ("docs/design.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/design.md", "[a](../README.md#install)", "a (`README.md`)"),
        ("docs/design.md", "[a](../benchmarks/crawl.py)", "a (`benchmarks/crawl.py`)"),
        ("docs/design.md", "[`setup.cfg`](../setup.cfg)", "`setup.cfg`"),
        ("docs/design.md", "[a](../not-there.md)", "[a](../not-there.md)"),
        ("CONTRIBUTING.md", "[a](docs/design.md#the-folders)", "[a](design.md#the-folders)"),
        ("CONTRIBUTING.md", "[a](CHANGELOG.md)", "[a](changes.md)"),
        ("docs/design.md", "[a](https://a.test/b.md)", "[a](https://a.test/b.md)"),
        ("docs/design.md", "![a](images/page-light.png)", "![a](images/page-light.png)"),
    ],
)
def test_a_link_leads_to_where_its_target_is_in_the_site(here: str, link: str, shown: str) -> None:
    assert hooks.led(f"See {link}.", here) == f"See {shown}."


def test_a_table_of_sentences_has_its_heads_in_its_cells() -> None:
    heads = "<tr>\n<th>setting</th>\n<th>default</th>\n<th>meaning</th>\n</tr>"
    row = f"<tr>\n<td>A</td>\n<td>1</td>\n<td>{'long ' * 20}</td>\n</tr>"

    class AnyPage:
        class file:
            src_uri = "reference.md"

    html = hooks.on_page_content(f"<table>\n{heads}\n{row}\n</table>", AnyPage)

    assert "<table data-sentences>" in html
    assert '<td>A</td>\n<td data-label="default">1</td>\n<td>long' in html
