"""What the site does with pages that are plain Markdown, to be read on the forge as well.

Links out of docs/ work on the forge as they are. Here pages of the repository's root are pages of
the site. Any other file is not in the site, and there is no address yet that it has elsewhere: a
link to it becomes its text and its path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
#: Files of the root, and the pages that they are in the site.
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}

#: Pages without the columns at their sides.
HIDDEN = {"index.md": ["navigation", "toc"], "tutorial.md": ["navigation"]}
#: Letters in a cell of a table whose rows are read, and not compared.
SENTENCE = 60

_FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]\n]+(?:\n[^\]\n]+)?)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)"
)
_HEADS = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL)
_ROW = re.compile(r"<tr>\s*<td.*?</tr>", re.DOTALL)
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_CELL = re.compile(r"<td[^>]*>(.*?)</td>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
#: A role of Sphinx in a docstring, in front of the code that it is for.
_ROLE = re.compile(r":(?:meth|class|func|mod|attr):(?=<code>)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages of the root."""
    from mkdocs.structure.files import File  # late: whoever tests links needs no MkDocs

    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page, but not what looks so in code, to where their targets are."""
    here = _place(page.file.src_uri)
    page.meta.setdefault("hide", HIDDEN.get(page.file.src_uri, []))
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [led(markdown[end : fence.start()], here), fence[0]]
        end = fence.end()
    return "".join([*parts, led(markdown[end:], here)])


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Give what the style sheet is to find something to be found by."""
    html = _TABLE.sub(_marked, _ROLE.sub("", html))
    if page.file.src_uri == "index.md":
        html = html.replace("<ul>", '<ul class="ways">', 1).replace(
            "<li><a", '<li><a class="md-button"'
        )
    return html


def _marked(table: re.Match[str]) -> str:
    """Return a table, if it has sentences, with the heads of its columns in their cells."""
    if not any(len(_TAG.sub("", cell)) > SENTENCE for cell in _CELL.findall(table[0])):
        return table[0]
    # The first cell is the head of a card, and the last one its text.
    heads = [_TAG.sub("", head).replace('"', "&quot;") for head in _HEADS.findall(table[0])]

    def card(row: re.Match[str]) -> str:
        first, *cells = row[0].split("<td")[1:]
        labels = [*(f' data-label="{head}"' for head in heads[1:-1]), ""]
        labelled = zip(labels, cells, strict=True)
        return f"<tr>\n<td{first}" + "".join(f"<td{label}{cell}" for label, cell in labelled)

    return _ROW.sub(card, table[0]).replace("<table>", "<table data-sentences>")


def _place(page: str) -> str:
    """Return the path in the repository of what is this page of the site."""
    names = {page: name for name, page in ROOT_PAGES.items()}
    return names.get(page) or f"docs/{page}"


def led(text: str, here: str) -> str:
    """Return a text of the file *here* with its links as the site has them."""
    return _LINK.sub(lambda link: _link(link, here), text)


def _link(link: re.Match[str], here: str) -> str:
    """Return the link as the site has it."""
    text, anchor = link["text"], link["anchor"] or ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), link["target"]))
    if path == "README.md" and not anchor:
        page = "index.md"
    elif path in ROOT_PAGES:
        page = ROOT_PAGES[path]
    elif path.startswith("docs/"):
        page = path.removeprefix("docs/")
    elif not (ROOT / path).exists():
        return link[0]  # and the build says that it leads nowhere
    else:
        return text if path in text else f"{text} (`{path}`)"
    start = posixpath.dirname(_place_in_site(here))
    return f"[{text}]({posixpath.relpath(page, start or '.')}{anchor})"


def _place_in_site(here: str) -> str:
    return ROOT_PAGES.get(here) or here.removeprefix("docs/")
